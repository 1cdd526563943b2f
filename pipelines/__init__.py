"""The data layer: records, readers, datamodules, batch jobs."""
