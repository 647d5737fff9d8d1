"""Kill a PostgreSQL in the middle of its work: every row that it acknowledged is still there."""

import psycopg

from mtenant_devstack import Stack

with Stack(["postgres"], mode="durable") as stack:
    with psycopg.connect(stack.postgres.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY)")
        for _ in range(100):
            connection.execute("INSERT INTO orders DEFAULT VALUES")
        stack.postgres.kill()

    stack.postgres.start()  # on the same port and data
    with psycopg.connect(stack.postgres.url) as connection:
        found = connection.execute("SELECT count(*) FROM orders").fetchone()

assert found == (100,)
print(f"{found[0]} of 100 orders are there after kill -9")
