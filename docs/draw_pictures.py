"""Draw the pictures of these pages: ``python docs/draw_pictures.py`` (a minute on one core)."""

from pathlib import Path

from PIL import Image

from graftable.generation import generate
from graftable.graphs.corpus import DOMAINS, corpus_path
from graftable.graphs.drawing import draw_gallery
from graftable.models.lggm import LGGM
from graftable.models.pretrained import load_pretrained
from graftable.pipelines.readers import read_graphs

FOLDER = Path(__file__).parent / "pictures"
SIZE = 80
PROMPTS = (
    "a power grid of 120 buses",
    "a road network of 150 junctions",
    "a collaboration network of 60 authors with high clustering",
    "an air traffic network of 50 airports",
    "a random tree with 80 nodes",
    "a dense friendship network of 90 people",
)


def draw_domains() -> None:
    """One test graph of each domain, of about SIZE nodes."""
    graphs = read_graphs(corpus_path() / "test.parquet")
    chosen = [min((g for g in graphs if g.domain == d), key=lambda g: abs(g.num_nodes - SIZE)) for d in DOMAINS]
    titles = [DOMAINS[domain].partition(";")[0] for domain in DOMAINS]
    draw_gallery(chosen, FOLDER / "domains.png", titles=titles, columns=5, cell=2.0)


def draw_prompts() -> None:
    """The first sample of each prompt, none picked."""
    network = load_pretrained(LGGM, "lggm")
    graphs = [generate(prompt, model=network, seed=0)[0] for prompt in PROMPTS]
    draw_gallery(graphs, FOLDER / "prompts.png", titles=PROMPTS, columns=3, cell=2.9)


def draw_beside_real() -> None:
    """The picture of the demo: four samples of one prompt, and the test graphs of the nearest sizes."""
    prompt, domain, nodes = PROMPTS[2], "col", 60
    real = [graph for graph in read_graphs(corpus_path() / "test.parquet") if graph.domain == domain]
    groups = {
        f'drawn from "{prompt}"': generate(prompt, 4, seed=0),
        "test graphs of the same domain, not seen in training": sorted(real, key=lambda g: abs(g.num_nodes - nodes))[
            :4
        ],
    }
    draw_gallery(groups, FOLDER / "beside_real.png", columns=4)


def shrink(picture: Path) -> None:
    """Keep 96 colours: a third of the bytes, since the history keeps every version."""
    with Image.open(picture) as image:
        image.convert("RGB").quantize(96, dither=Image.Dither.NONE).save(picture, optimize=True)


if __name__ == "__main__":
    draw_domains()
    draw_prompts()
    draw_beside_real()
    for path in FOLDER.glob("*.png"):
        shrink(path)
