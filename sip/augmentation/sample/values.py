"""Ranges that several changes of images share."""

from typing import Annotated

from pydantic import Field

Grey = Annotated[int, Field(ge=0, le=255)]  # level of a filled area
