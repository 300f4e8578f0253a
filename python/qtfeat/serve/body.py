"""Request bodies, decoded straight into their type: no text becomes a number on the way."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from litestar import Request
from litestar.exceptions import ValidationException


class StrictRequest(Request[Any, Any, Any]):
    """A request whose JSON is decoded once, into what its handler takes, without any coercion."""

    async def json(self) -> Any:
        """Return the body as the handler's `data`.

        Raises:
            ValidationException: not JSON, or not of that type; the message names the path.
        """
        taken = self.route_handler.parsed_data_field
        body = await self.body()
        try:
            return _decoder(Any if taken is None else taken.annotation).decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ValidationException(str(error)) from error
        except RecursionError as error:
            raise ValidationException("the body is nested too deeply") from error


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)
