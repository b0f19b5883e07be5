"""The schema of the rows that are written: their fields, and the types of their columns."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

# Column type of an extra field by the type of its values. Values of mixed types are written as JSON.
_KINDS: Final[Mapping[type, str]] = {bool: "bool", int: "int", float: "float", str: "text"}
_INT64_LIMIT: Final = 2**63


@dataclass(slots=True)
class RowSchema:
    """Built by observing every row once.

    Attributes:
        layout: the layout rows are written in.
        multiple_images: some row has more than one image.
        weighted: some answer is not supervised.
        names: the layout's fields that some row has, then the extra fields.
        extra_fields: fields outside the layout that are carried over, and the type of their values.
    """

    layout: str
    multiple_images: bool = False
    weighted: bool = False
    names: list[str] = field(default_factory=list)
    extra_fields: dict[str, str] = field(default_factory=dict)

    def observe(self, values: Mapping[str, Any], extra: Mapping[str, Any]) -> None:
        """Add the fields of one row."""
        for name in (*values, *extra):
            if name not in self.names:
                self.names.append(name)
        for name, value in extra.items():
            kind = "json" if isinstance(value, int) and not -_INT64_LIMIT <= value < _INT64_LIMIT else None
            kind = kind or ("null" if value is None else _KINDS.get(type(value), "json"))
            before = self.extra_fields.get(name, "null")
            self.extra_fields[name] = (
                kind if before == "null" else before if kind in ("null", before) else _common_kind(before, kind)
            )

    def convert_value(self, name: str, value: Any) -> Any:
        """The value of an extra field, converted to its column's type."""
        match self.extra_fields.get(name):
            case "json" if value is not None:
                return json.dumps(value, ensure_ascii=False, default=str)
            case "float" if value is not None:
                return float(value)
        return value


def _common_kind(first: str, second: str) -> str:
    return "float" if {first, second} == {"int", "float"} else "json"


def arrow_schema(row_schema: RowSchema, *, embed: bool) -> "pa.Schema":
    """The Arrow schema of the rows, with the metadata that `datasets` reads."""
    import pyarrow as pa

    text = pa.string()
    image = pa.struct([("bytes", pa.binary()), ("path", text)]) if embed else text
    kinds = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64()}
    weight = [("weight", pa.int64())] if row_schema.weighted else []
    part = pa.struct([("type", text), ("text", text), ("image_url", pa.struct([("url", text)]))])
    own = {
        "image": pa.list_(image) if row_schema.multiple_images else image,
        "images": pa.list_(image),
        "messages": pa.list_(pa.struct([("role", text), ("content", text), *weight])),
        "conversations": pa.list_(pa.struct([("from", text), ("value", text), *weight])),
        "texts": pa.list_(pa.struct([("user", text), ("assistant", text)])),
        "history": pa.list_(pa.list_(text)),
    }
    if row_schema.layout == "openai":
        own["messages"] = pa.list_(pa.struct([("role", text), ("content", pa.list_(part)), *weight]))
    fields = [
        pa.field(
            name,
            kinds.get(row_schema.extra_fields[name], text) if name in row_schema.extra_fields else own.get(name, text),
        )
        for name in row_schema.names
    ]
    schema = pa.schema(fields)
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": hf_features(schema)}})})


def hf_features(schema: "pa.Schema") -> dict[str, Any]:
    """The features of a schema in the form `datasets` stores them."""
    return {column.name: _hf_feature(column.type) for column in schema}


def _hf_feature(kind: "pa.DataType") -> Any:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        names = [kind.field(index).name for index in range(kind.num_fields)]
        if names == ["bytes", "path"]:
            return {"_type": "Image"}
        return {name: _hf_feature(kind.field(index).type) for index, name in enumerate(names)}
    if pa.types.is_list(kind):
        return {"feature": _hf_feature(kind.value_type), "_type": "List"}
    return {"dtype": "float64" if pa.types.is_floating(kind) else str(kind), "_type": "Value"}
