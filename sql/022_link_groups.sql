-- 022_link_groups.sql - groups of links, to look at them together.

create table usher.link_group (
    id          bigint generated always as identity primary key,
    org_id      bigint not null references usher.org,
    name        text collate "C" not null
                check (name ~ '^[a-z0-9][a-z0-9_-]{0,31}$'),
    title       text not null default '' check (char_length(title) <= 200),
    created_at  timestamptz not null default now(),
    unique (org_id, name),
    unique (id, org_id)
);

comment on table usher.link_group is 'Groups of links, for reports';
comment on column usher.link_group.id is 'Number';
comment on column usher.link_group.org_id is 'Whose it is';
comment on column usher.link_group.name is 'Name, one of its kind in an org';
comment on column usher.link_group.title is 'Name for people';
comment on column usher.link_group.created_at is 'When it was made';


create table usher.link_group_member (
    group_id  bigint not null,
    link_id   bigint not null references usher.link on delete cascade,
    org_id    bigint not null,
    primary key (group_id, link_id),
    constraint link_group_member_group foreign key (group_id, org_id)
        references usher.link_group (id, org_id) on delete cascade
);

create index link_group_member_link on usher.link_group_member (link_id);

comment on table usher.link_group_member is
    'The links of a group; a link may be in several';
comment on column usher.link_group_member.group_id is 'The group';
comment on column usher.link_group_member.link_id is 'The link';
comment on column usher.link_group_member.org_id is 'Whose both are';
comment on index usher.link_group_member_link is 'The groups of a link';

comment on sequence usher.link_group_id_seq is 'Numbers of groups of links';
