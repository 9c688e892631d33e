"""The conditions of a workspace file, on customers' attributes. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, create_model

from ...settings.validation import Mistake, Section
from ...settings.value_types import Flag
from .fields import (
    Date,
    DayCount,
    Filled,
    Name,
    NamesOrNone,
    Number,
    Operand,
    Range,
    TooDeep,
)
from .rules import Operator

# A class body cannot say `is: ...`.
_IS: Any = Field(default=None, description="This value, or one of these.")
_EQUALITY: Any = {"__base__": Section, "is": (Operand | None, _IS)}
_Equality: Any = create_model("_Equality", **_EQUALITY)


class ComparisonSection(_Equality):  # type: ignore[misc]
    """The comparison of an attribute."""

    is_not: Operand | None = Field(
        default=None, description="Another value than this one or these."
    )
    contains: Operand | None = Field(
        default=None, description="Text with this in it, or a list with this item."
    )
    does_not_contain: Operand | None = Field(
        default=None, description="Text or a list without it."
    )
    starts_with: Operand | None = Field(default=None, description="Text.")
    ends_with: Operand | None = Field(default=None, description="Text.")
    above: Number | None = Field(default=None, description="A number above this one.")
    below: Number | None = Field(default=None, description="A number below this one.")
    at_least: Number | None = Field(default=None, description="This number or above.")
    at_most: Number | None = Field(default=None, description="This number or below.")
    between: Range | None = Field(
        default=None, description="Two numbers or two dates, both included."
    )
    on: Date | None = Field(default=None, description="A date on this day.")
    before: Date | None = Field(default=None, description="A date before this one.")
    after: Date | None = Field(default=None, description="A date after this one.")
    in_the_last: DayCount | None = Field(
        default=None, description="A date within so many days before now."
    )
    in_the_next: DayCount | None = Field(
        default=None, description="A date within so many days from now."
    )
    has_any: Operand | None = Field(
        default=None, description="A list with at least one of these."
    )
    has_all: Operand | None = Field(default=None, description="A list with all these.")
    has_none: Operand | None = Field(
        default=None, description="A list with none of these."
    )
    exists: Flag | None = Field(
        default=None, description="Whether the attribute is there at all."
    )
    ignore_case: Flag = Field(
        default=False, description="Whether A and a are the same letter."
    )

    @classmethod
    def operators_in(cls, given: Mapping[str, Any]) -> list[str]:
        """Return the given operators."""
        return [one.value for one in Operator if one in given]

    @classmethod
    def missing_operator(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        """Yield a mistake if no operator is given, and no unknown key was meant as
        one."""
        if not given.keys() - cls.model_fields.keys():
            known = ", ".join(Operator)
            yield Mistake((), f"missing: how to compare the attribute, one of {known}")


class ParameterSection(ComparisonSection):
    """A comparison of an in-session attribute; all its operators must hold."""

    include: Operand | None = Field(
        default=None, description="The same as is: one of these."
    )
    exclude: Operand | None = Field(
        default=None, description="The same as is_not: none of these."
    )

    @classmethod
    def cross_checked(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        if not cls.operators_in(given) and not given.keys() & {"include", "exclude"}:
            yield from cls.missing_operator(given)


class ConditionSection(ComparisonSection):
    """A comparison of one attribute of the customer, or a segment."""

    attribute: Name | None = Field(
        default=None, description="The customer's attribute, as in 'tier'."
    )
    segment: Name | None = Field(
        default=None, description="Instead of an attribute: a custom segment."
    )
    all: TooDeep | None = Field(default=None, description="Not here: too deep.")
    any: TooDeep | None = Field(default=None, description="Not here: too deep.")

    @classmethod
    def cross_checked(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        groups = [name for name in ("all", "any") if name in given]
        operators = cls.operators_in(given)
        subjects = [name for name in ("attribute", "segment") if name in given]
        if len([*groups, *subjects]) > 1:
            named = " and ".join([*groups, *subjects])
            yield Mistake((), f"{named} at once: write one condition for each")
        elif not [*groups, *subjects]:
            yield Mistake((), "missing: an attribute, a segment, all or any")
        elif "attribute" in given and not operators:
            yield from cls.missing_operator(given)
        elif "attribute" in given and len(operators) > 1:
            named = " and ".join(operators)
            yield Mistake((), f"{named} at once: write one condition for each")
        elif "attribute" not in given and operators:
            text = f"compares an attribute: {subjects or groups} needs none"
            yield Mistake((operators[0],), text.translate({91: None, 93: None}))


class ClauseSection(ConditionSection):
    """A condition, or a nested group of them."""

    all: Annotated[tuple[ConditionSection, ...], Filled] | None = Field(
        default=None, description="All of these conditions hold."
    )
    any: Annotated[tuple[ConditionSection, ...], Filled] | None = Field(
        default=None, description="At least one of these holds."
    )


class WhereSection(ConditionSection):
    """A condition, or a group of conditions and nested groups."""

    all: Annotated[tuple[ClauseSection, ...], Filled] | None = Field(
        default=None, description="All of these hold (AND)."
    )
    any: Annotated[tuple[ClauseSection, ...], Filled] | None = Field(
        default=None, description="At least one of these holds (OR)."
    )


class ExcludeSection(Section):
    """Customers left out of an audience."""

    where: WhereSection | None = Field(
        default=None, description="Those with these attributes."
    )
    segment: Name | None = Field(
        default=None, description="The members of this custom segment."
    )
    users: NamesOrNone | None = Field(default=None, description="These, by their ids.")
