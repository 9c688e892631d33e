-- What the sandbox's first version kept in its file, after two events.
BEGIN TRANSACTION;
CREATE TABLE actor (
    cid_token text not null,
    clicked integer not null,
    customer_id text not null,
    audience_id text not null,
    variation_id text not null,
    primary key (cid_token, clicked, customer_id, audience_id, variation_id)
) without rowid;
INSERT INTO "actor" VALUES('66d55ae445921e4d35ae4368',0,'alice','5A','1');
INSERT INTO "actor" VALUES('66d55ae445921e4d35ae4368',1,'alice','5A','1');
CREATE TABLE button (
    cid_token text not null,
    audience_id text not null,
    variation_id text not null,
    b_id text not null,
    clicks integer not null,
    primary key (cid_token, audience_id, variation_id, b_id)
) without rowid;
INSERT INTO "button" VALUES('66d55ae445921e4d35ae4368','5A','1','Buy',1);
CREATE TABLE context (
    id integer primary key,
    body text not null unique,
    cid_token text not null,
    audience_id text not null,
    variation_id text not null
);
INSERT INTO "context" VALUES(1,'{"cid": "66d55ae445921e4d35ae4368_F_T_WP_AB_1_P_0_AU_5A", "experience": "Hero", "moe_locale_id": "0", "moe_variation_id": "1", "audience_name": "All Users", "audience_id": "5A"}','66d55ae445921e4d35ae4368','5A','1');
CREATE TABLE event (
    id integer primary key,
    uuid text not null unique,
    clicked integer not null,
    customer_id text not null,
    context_id integer not null references context,
    b_id text,
    event_time integer not null,
    received_at real not null,
    platform text not null,
    user_timezone_offset integer,
    user_attributes text
);
INSERT INTO "event" VALUES(1,'a',0,'alice',1,NULL,1790000000,1790000000.5,'web',NULL,NULL);
INSERT INTO "event" VALUES(2,'b',1,'alice',1,'Buy',1790000000,1790000000.5,'web',NULL,NULL);
CREATE TABLE profile (
    id integer primary key,
    customer_id text not null unique
);
INSERT INTO "profile" VALUES(1,'alice');
CREATE TABLE profile_attribute (
    customer_id text not null,
    name text not null,
    value text not null,
    primary key (customer_id, name)
) without rowid;
INSERT INTO "profile_attribute" VALUES('alice','tier','"gold"');
CREATE TABLE quarter (
    quarter integer not null,
    cid_token text not null,
    impressions integer not null,
    clicks integer not null,
    primary key (quarter, cid_token)
) without rowid;
INSERT INTO "quarter" VALUES(1988888,'66d55ae445921e4d35ae4368',1,1);
CREATE TABLE tally (
    cid_token text not null,
    audience_id text not null,
    variation_id text not null,
    clicked integer not null,
    actions integer not null,
    customers integer not null,
    audience_customers integer not null,
    experience_customers integer not null,
    converted integer not null,
    primary key (cid_token, audience_id, variation_id, clicked)
) without rowid;
INSERT INTO "tally" VALUES('66d55ae445921e4d35ae4368','5A','1',0,1,1,1,1,0);
INSERT INTO "tally" VALUES('66d55ae445921e4d35ae4368','5A','1',1,1,1,1,1,1);
CREATE VIEW arrival as
select uuid, clicked, customer_id, body as context, cid_token, audience_id,
    variation_id, b_id, event_time, received_at, platform, user_timezone_offset,
    user_attributes
from event join context on context.id = context_id;
CREATE TRIGGER arrived instead of insert on arrival begin
    insert into profile (customer_id) values (new.customer_id) on conflict do nothing;
    insert into context (body, cid_token, audience_id, variation_id)
    values (new.context, new.cid_token, new.audience_id, new.variation_id)
    on conflict do nothing;
    insert into event (
        uuid, clicked, customer_id, context_id, b_id, event_time, received_at,
        platform, user_timezone_offset, user_attributes
    )
    values (
        new.uuid, new.clicked, new.customer_id,
        (select id from context where body = new.context),
        new.b_id, new.event_time, new.received_at,
        new.platform, new.user_timezone_offset, new.user_attributes
    )
    on conflict do nothing;
end;
CREATE TRIGGER counted after insert on event begin
    insert into tally
    select cid_token, audience_id, variation_id, new.clicked, 1,
        not exists (
            select 1 from actor a where a.cid_token = c.cid_token
            and a.clicked = new.clicked and a.customer_id = new.customer_id
            and a.audience_id = c.audience_id and a.variation_id = c.variation_id
        ),
        not exists (
            select 1 from actor a where a.cid_token = c.cid_token
            and a.clicked = new.clicked and a.customer_id = new.customer_id
            and a.audience_id = c.audience_id
        ),
        not exists (
            select 1 from actor a where a.cid_token = c.cid_token
            and a.clicked = new.clicked and a.customer_id = new.customer_id
        ),
        not exists (
            select 1 from actor a where a.cid_token = c.cid_token
            and a.clicked = new.clicked and a.customer_id = new.customer_id
            and a.audience_id = c.audience_id and a.variation_id = c.variation_id
        )
        and exists (
            select 1 from actor a where a.cid_token = c.cid_token
            and a.clicked = 1 - new.clicked and a.customer_id = new.customer_id
            and a.audience_id = c.audience_id and a.variation_id = c.variation_id
        )
    from context c where c.id = new.context_id
    on conflict do update set
        actions = actions + 1,
        customers = customers + excluded.customers,
        audience_customers = audience_customers + excluded.audience_customers,
        experience_customers = experience_customers + excluded.experience_customers,
        converted = converted + excluded.converted;
    insert into actor
    select cid_token, new.clicked, new.customer_id, audience_id, variation_id
    from context where id = new.context_id
    on conflict do nothing;
    insert into button
    select cid_token, audience_id, variation_id, new.b_id, 1
    from context where id = new.context_id and new.clicked and new.b_id is not null
    on conflict do update set clicks = clicks + 1;
    insert into quarter
    select new.event_time / 900, cid_token, 1 - new.clicked, new.clicked
    from context where id = new.context_id
    on conflict do update set
        impressions = impressions + excluded.impressions,
        clicks = clicks + excluded.clicks;
end;
COMMIT;
pragma application_id = 1299137875;
pragma user_version = 1;
