"""`GET /`: the playground, where it is enabled."""

from fastapi import APIRouter, Request, Response

from server.errors import refuse
from server.page import page
from server.settings import current

router = APIRouter()


@router.api_route("/", methods=["GET", "HEAD"])
async def playground(raw: Request) -> Response:
    """The page, or 304 where the browser has it already."""
    if not current().playground:
        raise refuse(404, f"there is no {raw.method} / here")
    found = page()
    known = {tag.strip().removeprefix("W/") for tag in raw.headers.get("if-none-match", "").split(",")}
    if known & {found.etag, "*"}:
        return Response(status_code=304, headers=found.headers)
    return Response(found.body, media_type="text/html; charset=utf-8", headers=found.headers)
