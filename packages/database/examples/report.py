"""A report with the builder: filters that may be left out, groups, and nothing that could become SQL."""

from datetime import date

from mtenant_database.query import Select, count, given, select, table, total

deals, stages = table("deals"), table("stages")


def forecast(owner: str | None = None, since: date | None = None) -> Select:
    """Return a query of what is in each stage."""
    return (
        select(
            stages["name"].as_("stage"),
            count().as_("deals"),
            total(deals["amount"] * stages["probability"]).as_("weighted"),
            from_=deals,
        )
        .join(stages, deals["stage_id"] == stages["id"])
        .where(
            deals["deleted_at"].is_null(),
            given(deals["owner"].eq, owner),
            given(deals["created_at"].ge, since),
        )
        .group_by(stages["name"], stages["position"])
        .order_by(stages["position"])
    )


# To send one: await forecast("ada").fetch_all(acme, row=Line)
for query in (forecast(), forecast("ada'; drop table deals; --", date(2026, 1, 1))):
    text, params = query.build()
    print(text.as_string())
    print(params)
