"""Lists as a client reads them."""

from __future__ import annotations

from typing import Any

import httpx2 as httpx


async def read_list(
    client: httpx.AsyncClient,
    path: str,
    headers: dict[str, str] | None = None,
    *,
    limit: int = 2,
    **params: str | int,
) -> list[dict[str, Any]]:
    """Return all items of a list, read page by page.

    Args:
        client: Of the app.
        path: The list's.
        headers: The caller's.
        limit: Items of a page.
        **params: Filters, and an order.

    Raises:
        AssertionError: A page was refused; or its total is not the number of items, or the item with one
            member alone is not the whole one's.
    """
    said = {**params, "include_total": "true"}
    answer = await client.get(path, params={"limit": limit, **said}, headers=headers)
    items: list[dict[str, Any]] = []
    totals = set()
    while True:
        page = _page(answer)
        items += page["items"]
        totals.add(page["total"])
        if page["next_cursor"] is None:
            break
        answer = await client.get(answer.links["next"]["url"], headers=headers)
    if totals != {len(items)}:
        raise AssertionError(f"{path} tells of {totals} items, and has {len(items)}")
    if items:
        name = next(iter(items[0]))
        part = {"limit": limit, "fields": name, **params}
        some = _page(await client.get(path, params=part, headers=headers))
        if some["items"] != [{name: one[name]} for one in items[:limit]]:
            raise AssertionError(f"{path} has other items with fields={name}: {some['items']}")
    return items


def _page(answer: httpx.Response) -> dict[str, Any]:
    if answer.status_code != 200:
        raise AssertionError(f"{answer.url} was answered with {answer.status_code}: {answer.text}")
    page: dict[str, Any] = answer.json()
    return page
