"""The one structure under every sparse operator: a validated pattern, sorted both ways, built once a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import ref

import numpy as np
import torch
from torch import Tensor

from graftable.errors import DataError, ShapeError

from . import native_library, native_order

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["Adjacency"]

INT32_LIMIT = 2**31
INTEGERS = (torch.int32, torch.int64, torch.int16, torch.int8, torch.uint8)
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, eq=False, repr=False, weakref_slot=True)
class Adjacency:
    r"""Which source enters which destination: the pattern of a sparse :math:`N_{dst} \times N_{src}` matrix.

    Edges stand in *slots*, sorted by destination (compressed sparse rows); within a row they keep the caller's order,
    so that a result depends on the order of the input alone. A second half lists the same edges by source, for
    gradients. Multi-edges, self loops and rectangular patterns are ordinary.

    Make one with :meth:`from_edge_index`, :meth:`from_ptr`, :meth:`from_pyg` or :meth:`cat`, once a batch, and pass it
    down; the constructor itself checks nothing.

    Attributes:
        rowptr: ``(num_dst + 1,)``; the slots of destination ``i`` are ``rowptr[i]`` up to ``rowptr[i + 1]``.
        col: ``(num_edges,)``, the source of each slot.
        row: ``(num_edges,)``, the destination of each slot.
        rowptr_t: ``(num_src + 1,)``, as ``rowptr``, for sources.
        col_t: ``(num_edges,)``, the destination of each transposed slot.
        slot_t: ``(num_edges,)``, the slot of each transposed slot.
        edge_id: ``(num_edges,)``, the caller's edge in each slot; None if the caller's order is that of the slots.

    All tensors share one device and one integer type, int32 where it fits.

    Example:
        >>> adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1, 2], [2, 2, 0]]), num_nodes=3)
        >>> adjacency
        Adjacency(3 x 3, 3 edges, int32, cpu)
        >>> adjacency.to_slots(torch.tensor([0.5, 0.7, 0.9]))  # the edge into node 0 comes first
        tensor([0.9000, 0.5000, 0.7000])
    """

    rowptr: Tensor
    col: Tensor
    row: Tensor
    rowptr_t: Tensor
    col_t: Tensor
    slot_t: Tensor
    edge_id: Tensor | None = None
    _cache: dict[str, Any] = field(default_factory=dict, init=False)

    @classmethod
    def from_edge_index(cls, edge_index: Tensor, num_nodes: int | tuple[int, int]) -> Adjacency:
        """Sort an edge list.

        Args:
            edge_index: ``(2, num_edges)`` integers; row 0 holds sources and row 1 destinations, as in PyG.
            num_nodes: The number of nodes, or ``(num_dst, num_src)`` where edges join two kinds of node.

        Raises:
            ShapeError: If ``edge_index`` is not ``(2, num_edges)``.
            DataError: If an index is not an integer, is negative, or has no node.
        """
        if edge_index.dim() != 2 or edge_index.shape[0] != 2:
            raise ShapeError(
                f"edge_index has shape {tuple(edge_index.shape)}; expected (2, number of edges), sources "
                "in row 0 and destinations in row 1."
            )
        sizes = (num_nodes, num_nodes) if isinstance(num_nodes, int) else tuple(num_nodes)
        if len(sizes) != 2:
            raise DataError(f"num_nodes is {num_nodes}; expected a number, or (num_dst, num_src).")
        num_dst, num_src = sizes
        if min(sizes) < 0:
            raise DataError(f"num_nodes is {num_nodes}; expected 0 or more.")
        edge_index = edge_index.detach().as_subclass(Tensor)  # PyG's EdgeIndex would answer slices in its own way
        source = _checked(edge_index[0], num_src, "edge_index[0", "source")
        destination = _checked(edge_index[1], num_dst, "edge_index[1", "destination")
        dtype = index_dtype(num_dst, num_src, source.numel())
        source, destination = source.to(dtype), destination.to(dtype)
        rowptr, edge_id = _counting_sort(destination, num_dst)
        col, row = _taken(source, edge_id), _taken(destination, edge_id)
        return cls._with_transpose(rowptr, col, row, num_src, edge_id)

    @classmethod
    def from_ptr(cls, ptr: Tensor, col: Tensor | None = None, num_src: int | None = None) -> Adjacency:
        """Take compressed rows as they are.

        Args:
            ptr: ``(num_dst + 1,)`` integers from 0, never falling; row ``i`` owns the entries ``ptr[i]:ptr[i + 1]``.
            col: ``(ptr[-1],)``, the source of each entry; absent, entry ``e`` is source ``e``, and the rows are
                *segments* of consecutive entries.
            num_src: The number of sources; absent, one for each entry, or with ``col`` as many as there are rows.

        Raises:
            ShapeError: If ``ptr`` or ``col`` is not a vector, or ``col`` has another length than ``ptr`` says.
            DataError: If ``ptr`` does not begin with 0 and rise, or a source does not exist.
        """
        if ptr.dim() != 1 or ptr.numel() == 0:
            raise ShapeError(f"ptr has shape {tuple(ptr.shape)}; expected (number of rows + 1,).")
        _must_be_integer(ptr, "ptr")
        ptr = ptr.long()  # differences of unsigned integers would never be negative
        steps = ptr.diff()
        if ptr[0] != 0 or bool((steps < 0).any()):
            raise DataError("ptr must begin with 0 and never fall; it holds the first entry of each row, then the end.")
        num_edges, num_dst = int(ptr[-1]), ptr.numel() - 1
        if col is None:
            num_src = num_edges if num_src is None else num_src
            if num_src < num_edges:
                raise DataError(
                    f"num_src is {num_src}, but ptr ends with {num_edges} entries; give col, or a larger one."
                )
        else:
            num_src = num_dst if num_src is None else num_src
            if col.shape != (num_edges,):
                raise ShapeError(
                    f"col has shape {tuple(col.shape)}; ptr ends with {num_edges}, so expected ({num_edges},)."
                )
            col = _checked(col, num_src, "col[", "source")
            _must_share_device(ptr, col, "col")
        dtype = index_dtype(num_dst, num_src, num_edges)
        row = torch.repeat_interleave(
            torch.arange(num_dst, device=ptr.device, dtype=dtype), steps, output_size=num_edges
        )
        if col is not None:
            return cls._with_transpose(ptr.to(dtype, copy=True), col.to(dtype), row, num_src, None)
        slots = torch.arange(num_edges, device=ptr.device, dtype=dtype)
        rowptr_t = torch.arange(num_src + 1, device=ptr.device, dtype=dtype).clamp_(max=num_edges)
        return cls(ptr.to(dtype, copy=True), slots, row, rowptr_t, row, slots)

    @classmethod
    def from_pyg(cls, data: Any) -> Adjacency:
        """Take the edges of a PyG ``Data`` or ``Batch``, or an ``EdgeIndex`` that knows its size.

        Raises:
            DataError: If it has no edges or does not say how many nodes there are.
        """
        edge_index = data if isinstance(data, Tensor) else getattr(data, "edge_index", None)
        if edge_index is None:
            raise DataError(f"{type(data).__name__} has no edge_index; expected a PyG Data, Batch or EdgeIndex.")
        size = data.sparse_size() if hasattr(data, "sparse_size") else (data.num_nodes, data.num_nodes)
        if None in size:
            raise DataError("the number of nodes is not known; give EdgeIndex its sparse_size, or Data its num_nodes.")
        num_src, num_dst = size
        return cls.from_edge_index(edge_index, (int(num_dst), int(num_src)))

    @classmethod
    def cat(cls, adjacencies: Sequence[Adjacency]) -> Adjacency:
        """Put patterns side by side as one block-diagonal pattern, with offsets alone: nothing is sorted again.

        Equal to :meth:`from_edge_index` on the concatenated edge lists.

        Raises:
            DataError: If there is none, or they lie on several devices.
        """
        if not adjacencies:
            raise DataError("cat was given no Adjacency; expected at least one.")
        devices = {str(each.device) for each in adjacencies}
        if len(devices) > 1:
            raise DataError(
                f"cat was given Adjacency objects on {' and '.join(sorted(devices))}; move them to one device."
            )
        edges, dst, src = (
            np.array([getattr(each, name) for each in adjacencies]) for name in ("num_edges", "num_dst", "num_src")
        )
        dtype = index_dtype(int(dst.sum()), int(src.sum()), int(edges.sum()))

        def joined(parts: Iterable[Tensor], steps: np.ndarray, lengths: np.ndarray) -> Tensor:
            offsets = torch.from_numpy(np.repeat(np.cumsum(steps) - steps, lengths))
            whole = torch.cat([part.to(dtype) for part in parts])
            return whole.add_(offsets.to(whole.device, dtype))

        def pointers(parts: Sequence[Tensor], lengths: np.ndarray) -> Tensor:
            return torch.cat([parts[0].new_zeros(1, dtype=dtype), joined((part[1:] for part in parts), edges, lengths)])

        ids = None
        if any(each.edge_id is not None for each in adjacencies):
            ids = joined((each._edge_id() for each in adjacencies), edges, edges)
        return cls(
            pointers([each.rowptr for each in adjacencies], dst),
            joined((each.col for each in adjacencies), src, edges),
            joined((each.row for each in adjacencies), dst, edges),
            pointers([each.rowptr_t for each in adjacencies], src),
            joined((each.col_t for each in adjacencies), dst, edges),
            joined((each.slot_t for each in adjacencies), edges, edges),
            ids,
        )

    @classmethod
    def _with_transpose(
        cls, rowptr: Tensor, col: Tensor, row: Tensor, num_src: int, edge_id: Tensor | None
    ) -> Adjacency:
        rowptr_t, slot_t = _counting_sort(col, num_src)
        return cls(rowptr, col, row, rowptr_t, _taken(row, slot_t), slot_t, edge_id)

    @property
    def num_dst(self) -> int:
        """How many destinations there are."""
        return self.rowptr.shape[0] - 1

    @property
    def num_src(self) -> int:
        """How many sources there are."""
        return self.rowptr_t.shape[0] - 1

    @property
    def num_edges(self) -> int:
        """How many edges there are, each of several equal ones counted."""
        return self.col.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the tensors lie."""
        return self.rowptr.device

    @property
    def pattern(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The six tensors that a registered operator takes."""
        return self.rowptr, self.col, self.row, self.rowptr_t, self.col_t, self.slot_t

    @property
    def T(self) -> Adjacency:  # noqa: N802, RUF100 - as a matrix's
        """The pattern with every edge turned round; its slots are sorted by what were the sources. ``A.T.T is A``."""
        origin = self._cache.get("transpose of")
        return (origin and origin()) or self.cached("transpose", self._transpose)

    def _transpose(self) -> Adjacency:
        inverse = torch.empty_like(self.slot_t)
        inverse[self.slot_t.long()] = torch.arange(self.num_edges, device=self.device, dtype=inverse.dtype)
        turned = Adjacency(
            self.rowptr_t,
            self.col_t,
            self.col.index_select(0, self.slot_t),
            self.rowptr,
            self.col,
            inverse,
            self.slot_t if self.edge_id is None else self.edge_id.index_select(0, self.slot_t),
        )
        turned._cache["transpose of"] = ref(self)  # weak, lest the two keep each other until a collection of cycles
        return turned

    def to_slots(self, values: Tensor) -> Tensor:
        """Bring one value or vector per edge from the caller's order into that of the slots. Differentiable.

        Raises:
            ShapeError: If ``values`` does not have one row per edge, or lies elsewhere.
        """
        return self._permuted(values, into_slots=True)

    def to_edges(self, values: Tensor) -> Tensor:
        """Bring one value or vector per slot back into the caller's order: undoes :meth:`to_slots`. Differentiable.

        Raises:
            ShapeError: If ``values`` does not have one row per edge, or lies elsewhere.
        """
        return self._permuted(values, into_slots=False)

    def _permuted(self, values: Tensor, into_slots: bool) -> Tensor:
        if values.dim() == 0 or values.shape[0] != self.num_edges:
            raise ShapeError(
                f"values has shape {tuple(values.shape)}; expected one row for each of {self.num_edges} edges."
            )
        if values.device != self.device:
            raise ShapeError(f"values lies on {values.device}, the adjacency on {self.device}; move one with .to.")
        if self.edge_id is None:
            return values
        from .operators import permute_rows  # at call time: operators are made of patterns

        inverse = self.cached("slot of edge", self._slot_of_edge)
        order, back = (self.edge_id, inverse) if into_slots else (inverse, self.edge_id)
        return permute_rows(values, order, back)

    def _slot_of_edge(self) -> Tensor:
        edge_id = self._edge_id()
        slots = torch.arange(self.num_edges, device=self.device, dtype=edge_id.dtype)
        return torch.empty_like(edge_id).scatter_(0, edge_id.long(), slots)

    def _edge_id(self) -> Tensor:
        if self.edge_id is not None:
            return self.edge_id
        return torch.arange(self.num_edges, device=self.device, dtype=self.col.dtype)

    def inverse_degree(self, dtype: torch.dtype) -> Tensor:
        """``(num_dst,)``: one over the number of edges that enter each destination; 1 where none does."""
        return self.cached(f"inverse degree {dtype}", lambda: self.rowptr.diff().clamp_(min=1).to(dtype).reciprocal_())

    def cached(self, key: str, build: Callable[[], Value]) -> Value:
        """What ``build`` returns, made at the first call and kept; if two threads come at once, one result wins."""
        try:
            return cast("Value", self._cache[key])
        except KeyError:
            return cast("Value", self._cache.setdefault(key, build()))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Adjacency:
        """Move to a device; caches are made anew there."""
        if torch.device(device) == self.device:
            return self
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Adjacency:
        """Copy to page-locked memory, as a DataLoader does before a copy to the GPU."""
        return self._mapped(lambda tensor: tensor.pin_memory())

    def _mapped(self, move: Callable[[Tensor], Tensor]) -> Adjacency:
        rowptr, col, row, rowptr_t, col_t, slot_t = map(move, self.pattern)
        edge_id = None if self.edge_id is None else move(self.edge_id)
        return Adjacency(rowptr, col, row, rowptr_t, col_t, slot_t, edge_id)

    def __reduce__(self) -> tuple[Any, ...]:  # caches stay behind
        return Adjacency, (*self.pattern, self.edge_id)

    def to_scipy(self, edge_weight: Tensor | None = None) -> csr_matrix:
        """The matrix in scipy, 1 an edge or ``edge_weight`` in slot order; equal edges stand side by side, unsummed."""
        from scipy.sparse import csr_matrix

        weight = torch.ones(self.num_edges) if edge_weight is None else edge_weight.detach()
        parts = (weight.cpu().numpy(), self.col.cpu().numpy(), self.rowptr.cpu().numpy())
        return csr_matrix(parts, shape=(self.num_dst, self.num_src), copy=True)  # scipy sums duplicates in place

    def to_torch_csr(self, edge_weight: Tensor | None = None) -> Tensor:
        """The matrix as a torch CSR tensor, 1 an edge or ``edge_weight`` in slot order; no gradient reaches weights."""
        weight = torch.ones(self.num_edges, device=self.device) if edge_weight is None else edge_weight
        size = (self.num_dst, self.num_src)
        return torch.sparse_csr_tensor(self.rowptr, self.col, weight, size, check_invariants=False)

    def __repr__(self) -> str:
        dtype = str(self.col.dtype).removeprefix("torch.")
        return f"Adjacency({self.num_dst} x {self.num_src}, {self.num_edges} edges, {dtype}, {self.device})"


def index_dtype(num_dst: int, num_src: int, num_edges: int) -> torch.dtype:
    """int32 where every index and pointer fits, else int64.

    Example:
        >>> index_dtype(10, 10, 2**31), index_dtype(10, 10, 2**31 - 1)
        (torch.int64, torch.int32)
    """
    return torch.int32 if max(num_dst + 1, num_src, num_edges) < INT32_LIMIT else torch.int64


def _counting_sort(keys: Tensor, num_keys: int) -> tuple[Tensor, Tensor]:
    """Where each key begins, and the stable order: to read a compressed matrix by columns is a counting sort."""
    if keys.device.type != "cpu":
        ptr = torch.zeros(num_keys + 1, dtype=keys.dtype, device=keys.device)
        torch.cumsum(torch.bincount(keys, minlength=num_keys), 0, out=ptr[1:])
        return ptr, torch.argsort(keys, stable=True).to(keys.dtype)
    if native_library.available():
        return native_order.counting_sort(keys, num_keys)
    from scipy.sparse import csr_matrix

    one_an_edge = np.arange(keys.numel() + 1, dtype=keys.numpy().dtype)
    ones = np.ones(keys.numel(), dtype=np.int8)
    columns = csr_matrix((ones, keys.numpy(), one_an_edge), shape=(keys.numel(), num_keys)).tocsc()
    return torch.from_numpy(columns.indptr).to(keys.dtype), torch.from_numpy(columns.indices).to(keys.dtype)


def _taken(values: Tensor, order: Tensor) -> Tensor:
    """The entries of ``values`` that ``order`` names."""
    fast = values.is_cpu and native_library.available()
    return native_order.take_rows(values, order) if fast else values.index_select(0, order)


def _must_be_integer(index: Tensor, name: str) -> None:
    if index.dtype not in INTEGERS:
        raise DataError(f"{name} holds {str(index.dtype).removeprefix('torch.')}; expected integers, such as int64.")


def _must_share_device(one: Tensor, other: Tensor, name: str) -> None:
    if one.device != other.device:
        raise DataError(f"{name} lies on {other.device}, the pattern on {one.device}; move both to one device.")


def _checked(index: Tensor, limit: int, name: str, role: str) -> Tensor:
    """The index itself, if every entry has a node; ``name`` stops where the number of the entry is to follow."""
    _must_be_integer(index, name.rstrip("[01"))
    if index.numel() == 0:
        return index
    low, high = torch.aminmax(index)
    if low < 0 or high >= limit:
        at = int(((index < 0) | (index >= limit)).nonzero()[0])
        place = f"{name}{', ' if name[-1].isdigit() else ''}{at}]"
        span = f"0 to {limit - 1}" if limit else "none, since there are no nodes"
        raise DataError(f"{place} is {int(index[at])}; expected a {role} among the {limit} there are, {span}.")
    return index
