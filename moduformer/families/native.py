"""This library's own format: any spec as data in config.json, tensors under the model's own names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moduformer.architecture import Spec
from moduformer.errors import CheckpointError, SpecError
from moduformer.families.bert import TEMPLATE
from moduformer.families.family import Architecture, Family
from moduformer.weights.plan import NATIVE_ROWS


@dataclass(frozen=True)
class NativeFamily(Family):
    """A family whose config holds the whole spec."""

    def read(self, config: Mapping[str, Any], architecture: str | None = None) -> Spec:
        """The spec under the key `spec`."""
        data = config.get("spec")
        if not isinstance(data, dict):
            raise CheckpointError("config.json: a moduformer checkpoint needs its architecture under the key 'spec'")
        try:
            return Spec.from_dict(data)
        except SpecError as error:
            raise CheckpointError(f"config.json: {error}") from None

    def write(self, spec: Spec) -> dict[str, Any]:
        """The spec as data."""
        return {"model_type": self.model_type, "spec": spec.to_dict()}

    def architecture_of(self, spec: Spec) -> str:
        """Always the one class this format has."""
        return "Model"

    def architecture_with(self, kind: str) -> str:
        """The one class there is: which heads a model has stands in its own spec."""
        return next(iter(self.architectures))


FAMILY = NativeFamily(
    model_type="moduformer",
    template=TEMPLATE,
    rules=(),
    rows=NATIVE_ROWS,
    architectures={"Model": Architecture(prefix="")},
)
