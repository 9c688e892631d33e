"""The SQL of a SQLite outbox."""

from __future__ import annotations

# Lists are passed as one JSON text: Python releases the interpreter's lock at every row
# that it binds or reads, and a busy event loop is slow to give it back.
IDS = "(select value from json_each(:ids))"
# New events are the exception: their JSON would be read and written anew.
ROWS_AT_ONCE = (4, 16, 64, 256)
APPEND = {
    count: f"""
    insert into event (body)
    select column1 from (values {", ".join(["(?)"] * count)}) where column1 is not null
    """
    for count in ROWS_AT_ONCE
}
"""By how many rows they take; those that are null are none."""
DROP = """
select json_group_array(id) from (
    select id from event
    where id not in (select id from lease where claimable_at > :now)
    order by id limit :count
)
"""
# Customers with an earlier event that another relay holds, or that waits for its retry.
HELD = """
select customer, min(id) as first from lease
where claimable_at > :now and not (relay = :relay and :relay <> '')
group by customer
"""
PARKED = "select count(*) from lease where attempts = 0"
HELD_CUSTOMERS = f"select json_group_array(customer) from ({HELD})"
DUE = f"""
with held as materialized ({HELD})
select id, attempts, body
from lease join event using (id) left join held using (customer)
where claimable_at <= :now and (first is null or first > id)
order by id limit :limit
"""
# Events with ids above the last lease's were never claimed, as claims leave no gap.
FRESH = """
select id, 0 as attempts, body from event
where id > (select coalesce(max(id), 0) from lease)
order by id limit :limit
"""
LEASE_AGAIN = f"""
update lease set claimable_at = :until, attempts = attempts + 1, relay = :relay
where id in {IDS}
"""
LEASE = """
insert into lease (id, customer, claimable_at, attempts, relay)
select json_extract(value, '$[0]'), json_extract(value, '$[1]'),
    :until, :attempts, :relay
from json_each(:rows)
"""
EXTEND = f"update lease set claimable_at = :until where id in {IDS}"
RETRY = f"update lease set claimable_at = :until, relay = '' where id in {IDS}"
BURY = f"""
insert into dead_letter (id, body, reason, attempts, buried_at)
select id, body, :reason, coalesce(attempts, 0), :now
from event left join lease using (id) where id in {IDS}
"""
FORGET = f"delete from event where id in {IDS}"
UNLEASE = f"delete from lease where id in {IDS}"
FORGET_DEAD = f"delete from dead_letter where id in {IDS}"
REVIVE = f"""
insert into event (body) select body from dead_letter where id in {IDS} order by id
"""
COUNT = "select waiting, dead from state"
TALLY = "update state set waiting = waiting + :waiting, dead = dead + :dead"
SEEN = "select seen_at from state"
SEE = "update state set seen_at = :now"
SHIFT = "update lease set claimable_at = claimable_at - :back where claimable_at > 0"
# Before a batch: how many events wait, and how far its journal is stored.
BEFORE = "select waiting, (select stored from journal where name = :name) from state"
STORE = "update journal set stored = :stored where name = :name"
BEGIN_JOURNAL = "insert into journal (name, stored) values (:name, :stored)"
FORGET_JOURNALS = """
delete from journal where name not in (select value from json_each(:names))
"""
NOTE = "insert or replace into process (name, note) values (:name, :note)"
FORGET_NOTE = "delete from process where name = :name"
NOTES = "select name, note from process"
WAITING = """
select id, cast(body as blob), coalesce(attempts, 0), coalesce(claimable_at, 0)
from event left join lease using (id)
"""
DEAD = "select id, cast(body as blob), reason, attempts, buried_at from dead_letter"
