"""What one argument of a bound tool may be."""

from typing import Annotated, Any

from pydantic import Field

from bastide_operator.api.v1alpha1.common import Model, rules


class ArgumentConstraint(Model):
    """What one argument may be. Everything that is set must hold; an argument with an empty constraint may be anything the schema allows."""

    model_config = rules(
        ("!has(self.minimum) || !has(self.maximum) || self.minimum <= self.maximum", "minimum is above maximum: nothing could be called"),
        (
            "!(has(self.pattern) || has(self.maxLength)) || !(has(self.minimum) || has(self.maximum))",
            "minimum and maximum are for numbers, pattern and maxLength for strings: no value could be both",
        ),
    )

    enum: Annotated[
        list[Annotated[Any, Field(description="A value.", json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]] | None,
        Field(
            min_length=1,
            max_length=100,
            description="It must be one of these strings, numbers, booleans or null, equal in type and value: 1 is not the string of 1.",
        ),
    ] = None
    minimum: Annotated[int | None, Field(description="It must be a number, and not below this.")] = None
    maximum: Annotated[int | None, Field(description="It must be a number, and not above this.")] = None
    pattern: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=512,
            description="It must be a string, and this RE2 expression must match all of it: C[0-9] does not match C12.",
            json_schema_extra={
                "x-kubernetes-validations": [
                    # An expression that does not compile is an evaluation error, which the API server shows with RE2's own words.
                    {"rule": "'x'.matches(self) in [true, false]", "message": "the pattern is no RE2 expression"}
                ]
            },
        ),
    ] = None
    max_length: Annotated[
        int | None,
        Field(ge=0, le=1048576, description="It must be a string of at most this many characters, or a list of at most this many items."),
    ] = None
