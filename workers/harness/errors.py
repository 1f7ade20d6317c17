"""The one error of the measuring process; it crosses to the parent as a line of JSON."""

from __future__ import annotations

from typing import Any, Dict


class HarnessError(Exception):
    """A failure with its reason (a closed code), the offending value and the remedy."""

    def __init__(self, code: str, message: str, *, value: object = None, remedy: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.value = value
        self.remedy = remedy

    def to_dict(self) -> Dict[str, Any]:
        """Write the error as the fields of an `error` line."""
        return {"code": self.code, "message": self.message, "value": self.value, "remedy": self.remedy}
