"""How far repaired rows moved against how far they had to: one mixed-integer program per row and component."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from graftable.tabular.compiler import Compiled
from graftable.tabular.correction import correct
from graftable.tabular.draft import round_to_scale
from graftable.tabular.evaluation import ChunkCells
from graftable.tabular.io import open_table
from graftable.tabular.search import nearest


def least_move(frame, rules, schema, rows):
    """For the first rows of a frame that break a rule and have no null: the move that they got over the least one."""
    compiled = Compiled(rules, schema)
    program = compiled.program()
    numbers, codes, whole = _lattice_columns(frame, program, schema)
    numbers = {column: values[whole] for column, values in numbers.items()}
    codes = {column: values[whole] for column, values in codes.items()}
    found = correct(program, numbers, codes)
    chosen = np.flatnonzero(found.moved & found.solved)[:rows]
    ratios = []
    for row in chosen.tolist():
        least = 0.0
        for component in program.components:
            mine = {column: int(numbers[column][row]) for column in component.columns}
            texts = {
                column: (*program.categories[column], None)[codes[column][row]] for column in component.categorical
            }
            point = nearest(program, component, mine, texts)
            least += point.cost if point is not None else np.nan
        ratios.append(found.cost[row] / least)
    ratios = np.array(ratios)
    return ratios[np.isfinite(ratios)]


def _lattice_columns(frame, program, schema):
    (*chunks,) = open_table(frame).chunks()
    numbers, codes, whole = {}, {}, []
    for chunk in chunks:
        cells = ChunkCells(chunk, schema)
        whole.append(~np.any([cells.missing(c) for c in (*program.columns, *program.categorical)], axis=0))
        for column in program.columns:
            found = cells.numbers(column)
            scaled, _ = round_to_scale(found.numbers, found.scale, program.scales[column])
            numbers.setdefault(column, []).append(scaled)
        for column in program.categorical:
            known = pa.array(program.categories[column], pa.string())
            code = pc.fill_null(pc.index_in(cells.texts(column), known), -1)
            codes.setdefault(column, []).append(np.asarray(code).astype(np.int64))
    join = {name: np.concatenate(parts) for name, parts in (numbers | codes).items()}
    return (
        {column: join[column] for column in program.columns},
        {column: join[column] for column in program.categorical},
        np.concatenate(whole),
    )
