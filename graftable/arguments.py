"""What each command takes. Only argparse, so that every ``--help`` but the training verbs' answers at once."""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from graftable.errors import ConfigError

__all__ = ["COMMANDS", "GRAPH_ATTRIBUTES", "TRAINING_VERBS", "Command", "SentenceArgumentParser", "build_parser"]

TRAINING_VERBS = {
    "fit": "train a model: graftable fit --config lggm_debug",
    "validate": "measure a checkpoint on the validation data",
    "test": "measure a checkpoint on the test data",
    "predict": "write a model's output for a data set as records",
}

# graftable.graphs.attributes.ATTRIBUTES, which cannot be imported here without torch; a test compares the two
GRAPH_ATTRIBUTES = (
    "mean_degree",
    "clustering",
    "transitivity",
    "degree_gini",
    "assortativity",
    "modularity",
    "components",
    "diameter",
)


class SentenceArgumentParser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one sentence with the nearest valid word, and which takes no abbreviations."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Raise a ConfigError that says what to do."""
        sentence = message.strip().removesuffix(".").replace("argument ", "", 1)
        words = sentence.removeprefix("unrecognized arguments: ").split()
        if sentence.startswith("unrecognized arguments") and words[0].startswith("-"):
            options = [option for action in self._actions for option in action.option_strings]
            raise ConfigError(
                f"there is no option `{words[0]}`.{_nearest(words[0], options)} `{self.prog} --help` lists them."
            )
        raise ConfigError(f"{sentence}; `{self.prog} --help` shows what it takes.")

    def parse_args(self, args: object = None, namespace: object = None) -> argparse.Namespace:  # type: ignore[override]
        """Parse; an unknown option is reported by the command that lacks it, not by the root."""
        parsed, unknown = self.parse_known_args(args, namespace)  # type: ignore[call-overload]
        if unknown and hasattr(parsed, "settings"):  # a command whose config says what there is to set
            parsed.settings = unknown
        elif unknown:
            getattr(parsed, "parser", self).error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed  # type: ignore[no-any-return]


def _nearest(word: str, known: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(word.partition("=")[0], known, n=1)
    return f" Did you mean `{near[0]}`?" if near else ""


@dataclass(frozen=True)
class Command:
    """A command: the module whose ``run(namespace) -> exit code`` does it, one line of help, and its arguments."""

    module: str
    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]


def finite(text: str) -> float:
    """A number that is neither NaN nor infinite."""
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"found {text}, expected a finite number")
    return value


def at_least(minimum: int) -> Callable[[str], int]:
    """A converter for whole numbers from ``minimum`` on."""

    def whole_number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if value < minimum:
            raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number of at least {minimum}")
        return value

    return whole_number


def _generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", help='what to draw, such as "a power grid of 300 buses"')
    parser.add_argument("-n", "--count", type=at_least(1), default=1, help="how many graphs (default 1)")
    parser.add_argument("--out", default="generated", metavar="FOLDER", help="folder to write to (default generated/)")
    parser.add_argument("--num-nodes", type=at_least(1), metavar="N", help="exact number of nodes")
    parser.add_argument("--num-edges", type=at_least(0), metavar="M", help="wanted number of edges")
    parser.add_argument("--domain", help="domain to imitate, such as power or road; must not contradict the prompt")
    for name in GRAPH_ATTRIBUTES:
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=finite, metavar="X", help=f"wanted {name.replace('_', ' ')}"
        )
    parser.add_argument("--density", type=finite, metavar="X", help="wanted share of pairs that are linked")
    parser.add_argument("--seed", type=at_least(0), default=0, help="the same seed draws the same graphs (default 0)")
    parser.add_argument(
        "--guidance",
        type=finite,
        metavar="G",
        help="0 ignores the prompt, 1 follows the model, 2 follows the prompt more closely (default: the model's)",
    )
    parser.add_argument(
        "--temperature", type=finite, default=1.0, metavar="T", help="below 1, likelier and less varied (default 1)"
    )
    parser.add_argument("--model", default="lggm", help="model folder, or the name of one that ships (default lggm)")
    parser.add_argument(
        "--connected",
        choices=("largest", "reject", "repair"),
        help="make graphs connected: keep the largest component, draw again, or add edges (default: as drawn)",
    )
    _json(parser)


def _convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="IN", help="a graph file or folder: GraphML, edge list, .npz, .txt.gz or records"
    )
    parser.add_argument("target", metavar="OUT", help="a .parquet file or folder to write graph records to")
    parser.add_argument(
        "--undirected", action="store_true", help="read directed, weighted or multi-graphs as simple graphs"
    )
    parser.add_argument("--domain", help="domain to write into each record")


def _evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("generated", metavar="A", help="the graphs to judge: any readable file or folder")
    parser.add_argument("reference", metavar="B", help="the graphs to judge them against")
    parser.add_argument("--train", metavar="FILE", help="training graphs: adds the MMD ratio, uniqueness and novelty")
    parser.add_argument(
        "--undirected", action="store_true", help="read directed, weighted or multi-graphs as simple graphs"
    )
    _json(parser)


def _check(parser: argparse.ArgumentParser) -> None:
    _table(parser)
    parser.add_argument(
        "--examples", type=at_least(0), default=3, metavar="N", help="rows to show for each broken rule (default 3)"
    )
    parser.add_argument("--report", metavar="FILE", help="also write the report to a JSON file")
    _json(parser)


def _explain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rules", metavar="RULES", help="a rule file: text, YAML, or the y_i format of the papers")
    parser.add_argument("--data", required=True, metavar="DATA", help="the table that the rules are for")
    _reading(parser)
    _json(parser)


def _repair(parser: argparse.ArgumentParser) -> None:
    _table(parser)
    parser.add_argument("--out", required=True, metavar="FILE", help="the repaired table, of the same kind as DATA")
    parser.add_argument(
        "--pin", action="append", default=[], metavar="COLUMN", help="leave this column alone; may repeat"
    )
    parser.add_argument(
        "--coerce", action="store_true", help="clip infinities and numbers past all range, in place of quarantine"
    )
    parser.add_argument("--report", metavar="FILE", help="also write the report to a JSON file")
    _json(parser)


def _synthesize(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="DATA", help="the real rows: a CSV (.gz too) or Parquet file")
    parser.add_argument("--rules", metavar="RULES", help="what every row must obey: text, YAML, or the y_i format")
    parser.add_argument(
        "-n", "--count", type=at_least(1), default=1000, metavar="N", help="rows to make (default 1000)"
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="the rows: .csv, .csv.gz or .parquet")
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="RULE",
        help='what the rows have in common, such as "age >= 65"; may repeat',
    )
    _model(parser, "copula, flow, ctgan or tvae")
    _reading(parser)
    parser.add_argument("--report", metavar="FILE", help="also write the report to a JSON file")
    _json(parser)


def _impute(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", help="a CSV (.gz too) or Parquet file with null cells")
    parser.add_argument("--rules", metavar="RULES", help="what every row must obey: text, YAML, or the y_i format")
    parser.add_argument("--out", required=True, metavar="FILE", help="the filled table, of the same kind as DATA")
    _model(parser, "copula or flow")
    _reading(parser)
    parser.add_argument("--report", metavar="FILE", help="also write the report to a JSON file")
    _json(parser)


def _evaluate_table(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("real", metavar="REAL", help="the rows that were learnt: a CSV (.gz too) or Parquet file")
    parser.add_argument("synthetic", metavar="SYNTHETIC", help="the rows to judge, with the same columns")
    parser.add_argument("--rules", metavar="RULES", help="what every row must obey: text, YAML, or the y_i format")
    parser.add_argument("--holdout", metavar="FILE", help="real rows that were not learnt: makes the comparison fair")
    parser.add_argument("--target", metavar="COLUMN", help="what models learn to predict (default: the last)")
    parser.add_argument(
        "--before", metavar="REPORT", help="what synthesize or repair --report wrote: adds what broke rules before"
    )
    parser.add_argument(
        "--rows", type=at_least(20), default=10_000, metavar="N", help="rows of each that are compared (default 10000)"
    )
    parser.add_argument("--seed", type=at_least(0), default=0, help="the same seed gives the same figures (default 0)")
    parser.add_argument(
        "--out", default="table_quality.html", metavar="FILE", help="the page to write (default table_quality.html)"
    )
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="write JSON to a file, or print it in place of a table"
    )
    _reading(parser)


def _model(parser: argparse.ArgumentParser, engines: str) -> None:
    parser.add_argument("--model", metavar="FOLDER", help="a fitted model (default: one is fitted to DATA)")
    parser.add_argument("--engine", metavar="NAME", help=f"circuit (default), {engines}")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the engine; may repeat"
    )
    parser.add_argument("--save-model", metavar="FOLDER", help="keep the fitted model for --model")
    parser.add_argument("--seed", type=at_least(0), default=0, help="the same seed gives the same rows (default 0)")


def _table(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", help="a CSV (.gz too) or Parquet file")
    parser.add_argument("rules", metavar="RULES", help="a rule file: text, YAML, or the y_i format of the papers")
    _reading(parser)


def _reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sep", default=",", metavar="C", help="separator of a CSV (default ,); \\t is a tab")
    parser.add_argument("--decimal", default=".", metavar="C", help="decimal mark of a CSV (default .)")
    parser.add_argument("--encoding", default="utf-8", metavar="NAME", help="encoding of a CSV (default utf-8)")
    parser.add_argument("--null", action="append", default=[], metavar="TEXT", help="a text for no value; may repeat")
    parser.add_argument(
        "--schema", metavar="FILE", help="what the columns are: JSON or SDV metadata (default: found out)"
    )
    parser.add_argument(
        "--allow-unseen", action="store_true", help="let rules name categories that the table does not hold"
    )


def _compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="sets, methods and seeds, such as ood_debug")
    parser.add_argument(
        "--out", default="comparison", metavar="FOLDER", help="folder to write to (default comparison/)"
    )
    parser.add_argument(
        "--data", metavar="FOLDER", help="archives of the sets that are read (default: $GRAFTABLE_OOD_DATA)"
    )
    parser.add_argument("--sets", nargs="+", metavar="NAME", help="only these sets of the configs")
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="only these methods, and erm")
    parser.add_argument("--seeds", type=at_least(1), metavar="N", help="only the first N seeds of the configs")
    parser.add_argument("--runs", metavar="FILE", help="finished runs to go on from (default: runs.jsonl in FOLDER)")
    parser.add_argument("--report-only", action="store_true", help="train nothing; make the report of what is finished")
    _json(parser)


def _run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", help="a file, or a bundled one, such as synthesize_job_debug")
    parser.add_argument("--out", metavar="FOLDER", help="what is made; begun anew, or gone on with")
    parser.add_argument("--workers", type=at_least(1), metavar="N", help="parts that are made at once (default 1)")
    parser.add_argument("--engine", metavar="NAME", help="who makes them: local (default)")
    parser.add_argument("--trust-config", action="store_true", help="let the config name foreign classes")
    _json(parser)
    parser.set_defaults(settings=[])
    parser.epilog = (
        "Any other setting of the config can be given as --KEY VALUE, such as --job.rows 500. A job that was stopped "
        "or killed goes on when the same command is run again, and ends with the same bytes."
    )


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", default="demo", metavar="FOLDER", help="folder to write to (default demo/)")
    parser.add_argument(
        "--seed", type=at_least(0), default=0, help="seed of the training and of the drawings (default 0)"
    )


def _doctor(parser: argparse.ArgumentParser) -> None:
    _json(parser)


def _configs(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="list|show|copy", parser_class=SentenceArgumentParser
    )
    _json(actions.add_parser("list", help="one line per bundled config"))
    show = actions.add_parser("show", help="print a bundled config")
    show.add_argument("name", help="name of the config, such as lggm_debug")
    copy = actions.add_parser("copy", help="copy a bundled config, to change it")
    copy.add_argument("name", help="name of the config, such as lggm_debug")
    copy.add_argument("target", nargs="?", help="file or folder to write (default: here)")
    copy.add_argument("--force", action="store_true", help="replace a file that exists")


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")


COMMANDS = {
    "generate": Command("graftable.generation", "draw graphs from a description", _generate),
    "convert": Command("graftable.conversion", "turn graph files into records that fit reads", _convert),
    "evaluate-graphs": Command("graftable.evaluation", "measure one set of graphs against another", _evaluate),
    "check": Command("graftable.tables", "count the rows of a table that break rules", _check),
    "explain": Command("graftable.tables", "say what the rules for a table amount to", _explain),
    "repair": Command("graftable.tables", "move the rows of a table that break rules to where they hold", _repair),
    "synthesize": Command("graftable.synthesizing", "make rows like those of a table that obey rules", _synthesize),
    "evaluate-table": Command("graftable.table_evaluation", "say how good synthetic rows are", _evaluate_table),
    "impute": Command("graftable.synthesizing", "fill the null cells of a table so that rules hold", _impute),
    "compare": Command("graftable.comparing", "compare methods for graphs whose law shifts", _compare),
    "run": Command("graftable.running", "make many files by a batch job that survives a kill", _run),
    "demo": Command("graftable.demo", "train a small model, draw from three prompts, write a report", _demo),
    "doctor": Command("graftable.doctor", "say what is installed and whether it works", _doctor),
    "configs": Command("graftable.cli", "list, show or copy the bundled configs", _configs),
}


def build_parser(version: str) -> argparse.ArgumentParser:
    """The parser of everything but the training verbs, which LightningCLI parses."""
    parser = SentenceArgumentParser(
        prog="graftable",
        description='Machine learning on structure. Start with: graftable generate "a power grid of 300 buses"',
        epilog="`graftable COMMAND --help` explains a command. Configs may name classes of graftable, torch, lightning,"
        " torchmetrics and torch_geometric; --trust-config lifts that. Exit codes: 0 done, 1 a check found violations, "
        "2 a mistake in what was asked, 3 done but some input is in quarantine, 130 stopped, 143 preempted.",
    )
    parser.add_argument("--version", action="version", version=f"graftable {version}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=SentenceArgumentParser)
    for verb, text in TRAINING_VERBS.items():
        commands.add_parser(verb, help=text, add_help=False)
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(name, help=command.summary, description=command.summary.capitalize() + ".")
        subparser.set_defaults(parser=subparser)
        command.add_arguments(subparser)
    return parser
