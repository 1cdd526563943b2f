"""One LightningModule per system, one file each; `pretrained/` holds the weights that ship."""
