import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from graftable.errors import ModelFileError
from graftable.graphs.text_encoder import HashedTextEncoder, SentenceEncoder

TEXTS = ["a sparse power grid", "a dense social network of 90 people, please", ""]


@pytest.fixture(scope="module")
def local_encoder(tmp_path_factory):
    """A real Hugging Face folder with a small random BERT."""
    folder = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "sparse", "dense", "power", "grid", "social", "network"]
    (folder / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    BertModel(config).save_pretrained(folder)
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["hashed", "sentence"])
def test_a_text_does_not_depend_on_the_texts_beside_it(kind, local_encoder):
    torch.manual_seed(0)
    encoder = (HashedTextEncoder(32) if kind == "hashed" else SentenceEncoder(str(local_encoder), 32)).eval()
    together = encoder(TEXTS)
    assert together.shape == (3, 32)
    for index, text in enumerate(TEXTS):
        torch.testing.assert_close(encoder([text])[0], together[index], atol=1e-5, rtol=1e-5)


def test_the_order_of_words_counts():
    torch.manual_seed(0)
    encoder = HashedTextEncoder(32).eval()
    low, high = encoder(["low degree and high clustering", "high degree and low clustering"])
    assert not torch.allclose(low, high, atol=1e-3)


def test_frozen_weights_are_not_saved_with_the_model(local_encoder):
    encoder = SentenceEncoder(str(local_encoder), 32)
    assert set(encoder.state_dict()) == {"project.weight", "project.bias"}


@pytest.mark.parametrize("make", [lambda folder: folder / "absent", lambda folder: folder])
def test_a_folder_without_an_encoder_is_named(make, tmp_path):
    with pytest.raises(ModelFileError, match=str(tmp_path)):
        SentenceEncoder(str(make(tmp_path)), 32)
