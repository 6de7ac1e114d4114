"""Count, sum, sum of squares, least and greatest of a numeric column: exactly.

Floating-point addition depends on its order; here it does not. Every float64 is a whole number of 2^-1126, so sums
are kept as whole numbers of unlimited size: any split of the values into files, folded in any order, gives the same
bytes, and mean and deviation are rounded once, at the end. Not here: names, types and missing values.
"""

from __future__ import annotations

import math
import sys

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.states.serialization import pack, unpack

VERSION = 1

Floats = npt.NDArray[np.float64]

# The smallest positive float64 is 2^-1074, and its 53-bit mantissa as frexp gives it is a multiple of 2^-1126.
_SCALE = 1126
# So many products of two parts of 19 bits have a sum of 52; the arrays of a block stay in the processor's cache, and
# below 10,000 numbers OpenBLAS starts no threads.
_BLOCK = 9_216
_BITS = 19
# Values whose exponents are further apart than these parts reach, or that far from 1, are summed by exponent.
_PARTS = 6
_LOWEST, _HIGHEST = -400, 500
# No sum of squares of float64s, however many there are, is longer.
_LONGEST = 5000
# Within these bounds the rounding error of x * x is itself a float64.
_SQUARE_SAFE = (1e-120, 1e150)


class WholeNumber(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A whole number of any size, in the one form `digits` * 2^`exponent` with odd digits (or zero)."""

    digits: bytes = b""
    exponent: int = 0

    def __post_init__(self) -> None:
        if len(self.digits) > _LONGEST // 8 or not 0 <= self.exponent <= _LONGEST:
            raise ValueError("a whole number of a sum of float64s")
        if (self.digits and not self.digits[-1] & 1) or (self.exponent and not self.digits):
            raise ValueError("odd digits, or none")

    @classmethod
    def of(cls, value: int) -> WholeNumber:
        if value == 0:
            return cls()
        exponent = (value & -value).bit_length() - 1
        odd = value >> exponent
        return cls(odd.to_bytes(odd.bit_length() // 8 + 1, "big", signed=True), exponent)

    def __int__(self) -> int:
        return int.from_bytes(self.digits, "big", signed=True) << self.exponent


class Moments(msgspec.Struct, frozen=True, array_like=True):
    """Exact moments; `Moments()` is the identity of `+`.

    `total` counts units of 2^-1126, `squares` units of 2^-2252 (see the module). `least` and `greatest` are None when
    there are no values. Numbers too large for a float64 are given as the largest one.
    """

    count: int = 0
    total: WholeNumber = WholeNumber()
    squares: WholeNumber = WholeNumber()
    least: float | None = None
    greatest: float | None = None

    def __post_init__(self) -> None:
        if self.least is None or self.greatest is None:
            if self.count or self.total.digits or self.squares.digits or self.least is not self.greatest:
                raise ValueError("a least and a greatest value where there are values")
        elif not (self.count > 0 and math.isfinite(self.least) and math.isfinite(self.greatest)):
            raise ValueError("values that are counted and finite")
        elif self.least > self.greatest or self._spread() < 0:
            raise ValueError("sums that some values have")

    def __add__(self, other: Moments) -> Moments:
        if not other.count:
            return self
        if self.least is None or self.greatest is None or other.least is None or other.greatest is None:
            return other
        return Moments(
            self.count + other.count,
            WholeNumber.of(int(self.total) + int(other.total)),
            WholeNumber.of(int(self.squares) + int(other.squares)),
            min(self.least, other.least),
            max(self.greatest, other.greatest),
        )

    @property
    def sum(self) -> float:
        return _ratio(int(self.total), 1 << _SCALE)

    @property
    def mean(self) -> float:
        """Raises ZeroDivisionError when there are no values."""
        return _ratio(int(self.total), self.count << _SCALE)

    @property
    def mean_square(self) -> float:
        """The mean of the squares. Raises ZeroDivisionError when there are no values."""
        return _ratio(int(self.squares), self.count << (2 * _SCALE))

    @property
    def root_mean_square(self) -> float:
        """The root of the mean of the squares, also where that mean is no float64. Raises ZeroDivisionError."""
        denominator = self.count << (2 * _SCALE)
        return _root(int(self.squares), denominator, math.isqrt(denominator))

    @property
    def std_dev(self) -> float:
        """The population standard deviation, as Model Monitor prints it (model-monitor formats, section 5.1)."""
        count = max(self.count, 1)
        return _root(self._spread(), count**2 << (2 * _SCALE), count << _SCALE)

    def _spread(self) -> int:
        # The number of values times the sum of their squared differences from the mean, still exact.
        return self.count * int(self.squares) - int(self.total) ** 2

    def to_bytes(self) -> bytes:
        return pack("moments", VERSION, self)

    @classmethod
    def from_bytes(cls, body: bytes) -> Moments:
        """Raises UnreadableError."""
        return unpack(body, "moments", VERSION, cls)


class MomentsFold:
    """Folds values into moments, in place."""

    def __init__(self) -> None:
        self._count = self._total = self._squares = 0
        self._least, self._greatest = math.inf, -math.inf

    def add(self, values: Floats) -> None:
        """Add finite values of shape (n,), in the values' own unit."""
        for start in range(0, len(values), _BLOCK):
            block = values[start : start + _BLOCK]
            self._count += len(block)
            least, greatest = float(block.min()), float(block.max())
            self._least, self._greatest = min(self._least, least), max(self._greatest, greatest)
            total, squares = _sums(block, max(greatest, -least))
            self._total += total
            self._squares += squares

    @property
    def state(self) -> Moments:
        if not self._count:
            return Moments()
        sums = WholeNumber.of(self._total), WholeNumber.of(self._squares)
        # + 0.0 makes -0.0 the same number as 0.0.
        return Moments(self._count, *sums, self._least + 0.0, self._greatest + 0.0)


def moments_of(values: Floats) -> Moments:
    """The moments of finite values of shape (n,), in the values' own unit."""
    fold = MomentsFold()
    fold.add(values)
    return fold.state


def moments_of_counts(values: Floats, counts: npt.NDArray[np.int64]) -> Moments:
    """The moments of finite values, each of which occurs so many times (at least once), both of shape (n,)."""
    count = total = squares = 0
    # Each bit of the counts chooses some of the values, once.
    for bit in range(int(counts.max(initial=0)).bit_length()):
        found = moments_of(values[counts >> bit & 1 == 1])
        count += found.count << bit
        total += int(found.total) << bit
        squares += int(found.squares) << bit
    if not count:
        return Moments()
    return Moments(
        count,
        WholeNumber.of(total),
        WholeNumber.of(squares),
        float(values.min()) + 0.0,
        float(values.max()) + 0.0,
    )


def _sums(values: Floats, size: float) -> tuple[int, int]:
    """The exact sums of values (none larger than `size`) and of their squares, in units of 2^-1126 and 2^-2252.

    Each value is cut into parts of 19 bits on grids that all values share, so that sums of the parts and of their
    products fit in 53 bits and are exact in any order (after Demmel and Hida, 2003). Four parts are usual.
    """
    if not size:
        return 0, 0
    grid = math.frexp(size)[1]
    parts: list[tuple[Floats, int]] = []
    rest = values
    while len(parts) < _PARTS and _LOWEST < grid < _HIGHEST:
        grid -= _BITS
        # Added to this, a number keeps the bits from the grid on.
        anchor = math.ldexp(1.5, 52 + grid)
        part = rest + anchor
        part -= anchor
        parts.append((part, grid))
        rest = rest - part
        if not rest.any():
            break
    else:
        return _sum(values), _sum_of_squares(values)
    total = squares = 0
    for index, (part, grid) in enumerate(parts):
        total += int(math.ldexp(float(part.sum()), -grid)) << (grid + _SCALE)
        for other, other_grid in parts[index:]:
            product = int(math.ldexp(float(np.dot(part, other)), -grid - other_grid))
            squares += product << (grid + other_grid + 2 * _SCALE + (other is not part))
    return total, squares


def _sum(values: Floats) -> int:
    """The exact sum of any values in units of 2^-1126: mantissas are added per exponent, in two halves."""
    fractions, exponents = np.frexp(values)
    mantissas = np.ldexp(fractions, 53).astype(np.int64)
    lowest = int(exponents.min())
    bins = exponents - lowest
    high = np.bincount(bins, weights=mantissas >> 26)
    low = np.bincount(bins, weights=mantissas & ((1 << 26) - 1))
    total = 0
    for index in np.flatnonzero((high != 0) | (low != 0)).tolist():
        total += ((int(high[index]) << 26) + int(low[index])) << (index + lowest - 53 + _SCALE)
    return total


def _sum_of_squares(values: Floats) -> int:
    """The exact sum of squares of any values in units of 2^-2252.

    x * x is rounded, but its rounding error is a float64 too (Dekker, 1971): both are added exactly. Where that does
    not hold (tiny and huge values) the square is taken with whole numbers.
    """
    sizes = np.abs(values)
    safe = ((sizes > _SQUARE_SAFE[0]) & (sizes < _SQUARE_SAFE[1])) | (values == 0.0)
    rest: list[float] = []
    if not safe.all():
        rest = values[~safe].tolist()
        values = values[safe]
    total = 0
    if len(values):
        spread = 134217729.0 * values  # 2^27 + 1 splits 53 bits in two
        high = spread - (spread - values)
        low = values - high
        squares = values * values
        errors = ((high * high - squares) + 2.0 * high * low) + low * low
        total = (_sum(squares) + _sum(errors)) << _SCALE
    for value in rest:
        numerator, denominator = value.as_integer_ratio()
        total += numerator * numerator << (2 * _SCALE - 2 * (denominator.bit_length() - 1))
    return total


def share_of_variance(errors: Moments, values: Moments) -> float:
    """The mean square of errors over the variance of as many values, rounded once; nan without a variance."""
    spread = values._spread()
    return _ratio(int(errors.squares) * values.count, spread) if spread else math.nan


def _root(numerator: int, denominator: int, root: int) -> float:
    """The square root of a fraction; `root` is that of the denominator, for a fraction that is no float64."""
    try:
        return math.sqrt(numerator / denominator)
    except OverflowError:
        return _ratio(math.isqrt(numerator), root)


def _ratio(numerator: int, denominator: int) -> float:
    try:
        return numerator / denominator
    except OverflowError:
        return sys.float_info.max if numerator > 0 else -sys.float_info.max
