"""Rows of samples as values in Numba: vectors of LLVM, which the compiler splits into registers.

Plain loops over samples take up to 2.7 times as long: the compiler cannot know that the rows of a
sum do not overlap, checks it for every few edges, and keeps the sum in memory.
"""

from __future__ import annotations

import operator
from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.core.datamodel import models
from numba.extending import intrinsic, overload, register_model


class Row(types.Type):
    """A vector of `width` floats."""

    def __init__(self, dtype: types.Float, width: int) -> None:
        self.dtype, self.width = dtype, width
        super().__init__(name=f"Row({dtype}, {width})")


@register_model(Row)
class _RowModel(models.PrimitiveModel):
    def __init__(self, manager, row: Row) -> None:
        super().__init__(manager, row, ir.VectorType(manager[row.dtype].get_value_type(),
                                                     row.width))


class Makers(NamedTuple):
    """What makes rows of one width: ``load(array, start)`` and ``splat(number)``."""

    load: object
    splat: object


def makers(width: int) -> Makers:
    @intrinsic
    def load(_, array, start):
        def generate(context, builder, signature, args):
            place = _place(context, builder, signature.return_type, array, args)
            return builder.load(place, align=array.dtype.bitwidth // 8)
        return Row(array.dtype, width)(array, types.intp), generate

    @intrinsic
    def splat(_, number):
        def generate(context, builder, signature, args):
            row = context.get_value_type(signature.return_type)
            first = builder.insert_element(row(ir.Undefined), args[0], ir.IntType(32)(0))
            zeros = ir.VectorType(ir.IntType(32), width)([0] * width)
            return builder.shuffle_vector(first, first, zeros)
        return Row(number, width)(number), generate

    return Makers(load, splat)


@intrinsic
def store(_, array, start, row):
    """array[start:start + width] = row."""
    def generate(context, builder, signature, args):
        place = _place(context, builder, row, array, args)
        builder.store(args[2], place, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()
    return types.void(array, types.intp, row), generate


def _place(context, builder, row: Row, array: types.Array, args):
    """Pointer to a row of a contiguous array from (array, start, ...)."""
    data = context.make_array(array)(context, builder, args[0]).data
    return builder.bitcast(builder.gep(data, [args[1]]), context.get_value_type(row).as_pointer())


@intrinsic
def total(_, row):
    """The sum of a row, in any order."""
    def generate(context, builder, signature, args):
        number, vector = args[0].type.element, args[0].type
        name = f"llvm.vector.reduce.fadd.v{row.width}f{row.dtype.bitwidth}"
        function = builder.module.globals.get(name) or ir.Function(
            builder.module, ir.FunctionType(number, [number, vector]), name)
        return builder.call(function, [number(0.0), args[0]], fastmath=("fast",))
    return row.dtype(row), generate


@intrinsic
def where_positive(_, sign, row, other):
    """`row` where `sign` is above zero, else `other`."""
    def generate(context, builder, signature, args):
        zero = args[0].type([0.0] * sign.width)
        return builder.select(builder.fcmp_ordered(">", args[0], zero), *args[1:])
    return sign(sign, sign, sign), generate


def _overload_operator(symbol, instruction: str) -> None:
    @intrinsic
    def apply(_, a, b):
        def generate(context, builder, signature, args):
            return getattr(builder, instruction)(*args, flags=("fast",))
        return a(a, b), generate

    @overload(symbol)
    def implementation(a, b):
        return (lambda a, b: apply(a, b)) if isinstance(a, Row) and a == b else None


for _symbol, _instruction in ((operator.add, "fadd"), (operator.sub, "fsub"),
                              (operator.mul, "fmul")):
    _overload_operator(_symbol, _instruction)
