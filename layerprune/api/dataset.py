"""The images: where they come from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from .wire import Digest, Wire


class DatasetSpec(Wire):
    """The images: a known set by name, or the user's own, uploaded or on the workers' disks."""

    name: str = Field(
        default="",
        description="digits, cifar10, cifar100, imagenet, or a name of your choice for a set with a path or an upload",
        examples=["digits"],
    )
    path: str | None = Field(
        default=None,
        description="a folder with one folder of images per class, or parquet files, below a data root of the workers",
    )
    upload: Digest | None = Field(
        default=None, description="an uploaded zip (a folder of images per class, or parquet files) or parquet file"
    )
    image_column: str = Field(default="image", description="parquet: the column with the images")
    label_column: str = Field(default="label", description="parquet: the column with the labels")
    max_train_images: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="use only the first so many training images, in stored order"
    )

    @model_validator(mode="after")
    def _one_place(self) -> DatasetSpec:
        if self.path is not None and self.upload is not None:
            raise ValueError("give either path or upload, not both")
        if not self.name and self.path is None and self.upload is None:
            raise ValueError("give a name, a path or an upload")
        return self

    @property
    def label(self) -> str:
        """How the set is called in lists."""
        return self.name or self.path or f"upload:{(self.upload or '')[:12]}"
