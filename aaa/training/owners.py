"""Matrices whose rows are divided over processes, brought together for what needs a whole matrix.

Each matrix has one owner, which alone works on it, and what comes of it is divided again (much like this Liu et al.
2025, 2502.16982, section 2.3, distribute Muon). So the work is shared out as the weights are, and a process receives as
much as it holds; gathering every matrix in every process would have each do all the work.
"""

from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Size, Tensor

from aaa.training.even_shares import even_shares


class Owners:
    """Who works on which of some matrices.

    Args:
        shapes: of the whole matrices, rows and columns.
        group: the processes that hold their rows, each as many as `torch.chunk` gives it.

    Attributes:
        own: indices of the matrices of this process.
    """

    def __init__(self, shapes: Sequence[Size], group: dist.ProcessGroup) -> None:
        self.shapes, self.group = shapes, group
        self.processes, self.rank = group.size(), group.rank()
        self.owner = even_shares([rows * columns * min(rows, columns) for rows, columns in shapes], self.processes)
        self.own = self._owned_by(self.rank)

    def apply(self, work: Callable[[Sequence[Tensor]], Sequence[Tensor]], shards: Sequence[Tensor]) -> list[Tensor]:
        """Rows of this process of what `work` makes of the whole matrices.

        Args:
            work: takes the matrices that this process owns, and gives as many of the same shapes.
            shards: rows that this process has of each matrix.

        Returns:
            The same rows of each result, in the dtype of the shards.
        """
        made = [result.to(shards[0].dtype) for result in work(self._gather(shards))]
        return self._divide(made, shards)

    def _gather(self, shards: Sequence[Tensor]) -> list[Tensor]:
        outgoing = [[shards[index] for index in self._owned_by(rank)] for rank in range(self.processes)]
        incoming = [[self._rows(index, rank) for index in self.own] for rank in range(self.processes)]
        received = self._exchange(outgoing, incoming, shards[0])
        return [torch.cat(pieces) for pieces in zip(*received, strict=True)]

    def _divide(self, results: Sequence[Tensor], shards: Sequence[Tensor]) -> list[Tensor]:
        pieces = [
            result.split([self._rows(i, rank)[0] for rank in range(self.processes)])
            for i, result in zip(self.own, results, strict=True)
        ]
        outgoing = [[of_one[rank] for of_one in pieces] for rank in range(self.processes)]
        owned = [self._owned_by(rank) for rank in range(self.processes)]
        incoming = [[self._rows(index, self.rank) for index in indices] for indices in owned]
        received = self._exchange(outgoing, incoming, shards[0])
        by_index = {
            index: piece
            for indices, of_one in zip(owned, received, strict=True)
            for index, piece in zip(indices, of_one, strict=True)
        }
        return [by_index[index] for index in range(len(self.shapes))]

    def _exchange(
        self, outgoing: Sequence[Sequence[Tensor]], incoming: Sequence[Sequence[tuple[int, int]]], like: Tensor
    ) -> list[list[Tensor]]:
        """Give each process its list of tensors, and take from each one those of these shapes."""
        sent = [torch.cat([like.new_empty(0), *(piece.flatten() for piece in pieces)]) for pieces in outgoing]
        sizes = [[rows * columns for rows, columns in shapes] for shapes in incoming]
        received = like.new_empty(sum(map(sum, sizes)))
        dist.all_to_all_single(
            received, torch.cat(sent), [sum(of_one) for of_one in sizes], [len(part) for part in sent], group=self.group
        )
        by_process = received.split([sum(of_one) for of_one in sizes])
        return [
            [piece.view(shape) for piece, shape in zip(part.split(of_one), shapes, strict=True)]
            for part, of_one, shapes in zip(by_process, sizes, incoming, strict=True)
        ]

    def _owned_by(self, rank: int) -> list[int]:
        return [index for index, owner in enumerate(self.owner) if owner == rank]

    def _rows(self, index: int, rank: int) -> tuple[int, int]:
        """Shape of what a process holds of a matrix."""
        rows, columns = self.shapes[index]
        most = -(-rows // self.processes)
        return max(0, min(most, rows - rank * most)), columns
