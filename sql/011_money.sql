-- 011_money.sql - currencies, rounding, rates, cost and revenue.
--
-- Money is a bigint of minor units (cents; by the currency's exponent) beside
-- its currency.  Rates and shares are numeric and exact; what comes of them
-- is rounded once, half to even, where it is posted.  Two currencies are
-- added only through usher.fx_rate(), by the rate of the day.  Amounts are
-- text for people, never a float.
--
-- usher.fail() is that of 070_api.sql.

create table usher.currency (
    code      text primary key check (code ~ '^[A-Z]{3}$'),
    exponent  smallint not null check (exponent between 0 and 4),
    name      text not null
);

comment on table usher.currency is
    'Currencies of ISO 4217 as of 2026-09: no funds, no metals';
comment on column usher.currency.code is 'Its three letters';
comment on column usher.currency.exponent is
    'Decimals: 10 to this power minor units are one of the currency';
comment on column usher.currency.name is 'Name for people';

insert into usher.currency (code, exponent, name)
values
    ('AED', 2, 'UAE Dirham'),
    ('AFN', 2, 'Afghani'),
    ('ALL', 2, 'Lek'),
    ('AMD', 2, 'Armenian Dram'),
    ('AOA', 2, 'Kwanza'),
    ('ARS', 2, 'Argentine Peso'),
    ('AUD', 2, 'Australian Dollar'),
    ('AWG', 2, 'Aruban Florin'),
    ('AZN', 2, 'Azerbaijan Manat'),
    ('BAM', 2, 'Convertible Mark'),
    ('BBD', 2, 'Barbados Dollar'),
    ('BDT', 2, 'Taka'),
    ('BHD', 3, 'Bahraini Dinar'),
    ('BIF', 0, 'Burundi Franc'),
    ('BMD', 2, 'Bermudian Dollar'),
    ('BND', 2, 'Brunei Dollar'),
    ('BOB', 2, 'Boliviano'),
    ('BRL', 2, 'Brazilian Real'),
    ('BSD', 2, 'Bahamian Dollar'),
    ('BTN', 2, 'Ngultrum'),
    ('BWP', 2, 'Pula'),
    ('BYN', 2, 'Belarusian Ruble'),
    ('BZD', 2, 'Belize Dollar'),
    ('CAD', 2, 'Canadian Dollar'),
    ('CDF', 2, 'Congolese Franc'),
    ('CHF', 2, 'Swiss Franc'),
    ('CLF', 4, 'Unidad de Fomento'),
    ('CLP', 0, 'Chilean Peso'),
    ('CNY', 2, 'Yuan Renminbi'),
    ('COP', 2, 'Colombian Peso'),
    ('CRC', 2, 'Costa Rican Colon'),
    ('CUP', 2, 'Cuban Peso'),
    ('CVE', 2, 'Cabo Verde Escudo'),
    ('CZK', 2, 'Czech Koruna'),
    ('DJF', 0, 'Djibouti Franc'),
    ('DKK', 2, 'Danish Krone'),
    ('DOP', 2, 'Dominican Peso'),
    ('DZD', 2, 'Algerian Dinar'),
    ('EGP', 2, 'Egyptian Pound'),
    ('ERN', 2, 'Nakfa'),
    ('ETB', 2, 'Ethiopian Birr'),
    ('EUR', 2, 'Euro'),
    ('FJD', 2, 'Fiji Dollar'),
    ('FKP', 2, 'Falkland Islands Pound'),
    ('GBP', 2, 'Pound Sterling'),
    ('GEL', 2, 'Lari'),
    ('GHS', 2, 'Ghana Cedi'),
    ('GIP', 2, 'Gibraltar Pound'),
    ('GMD', 2, 'Dalasi'),
    ('GNF', 0, 'Guinean Franc'),
    ('GTQ', 2, 'Quetzal'),
    ('GYD', 2, 'Guyana Dollar'),
    ('HKD', 2, 'Hong Kong Dollar'),
    ('HNL', 2, 'Lempira'),
    ('HTG', 2, 'Gourde'),
    ('HUF', 2, 'Forint'),
    ('IDR', 2, 'Rupiah'),
    ('ILS', 2, 'New Israeli Sheqel'),
    ('INR', 2, 'Indian Rupee'),
    ('IQD', 3, 'Iraqi Dinar'),
    ('IRR', 2, 'Iranian Rial'),
    ('ISK', 0, 'Iceland Krona'),
    ('JMD', 2, 'Jamaican Dollar'),
    ('JOD', 3, 'Jordanian Dinar'),
    ('JPY', 0, 'Yen'),
    ('KES', 2, 'Kenyan Shilling'),
    ('KGS', 2, 'Som'),
    ('KHR', 2, 'Riel'),
    ('KMF', 0, 'Comorian Franc'),
    ('KPW', 2, 'North Korean Won'),
    ('KRW', 0, 'Won'),
    ('KWD', 3, 'Kuwaiti Dinar'),
    ('KYD', 2, 'Cayman Islands Dollar'),
    ('KZT', 2, 'Tenge'),
    ('LAK', 2, 'Lao Kip'),
    ('LBP', 2, 'Lebanese Pound'),
    ('LKR', 2, 'Sri Lanka Rupee'),
    ('LRD', 2, 'Liberian Dollar'),
    ('LSL', 2, 'Loti'),
    ('LYD', 3, 'Libyan Dinar'),
    ('MAD', 2, 'Moroccan Dirham'),
    ('MDL', 2, 'Moldovan Leu'),
    ('MGA', 2, 'Malagasy Ariary'),
    ('MKD', 2, 'Denar'),
    ('MMK', 2, 'Kyat'),
    ('MNT', 2, 'Tugrik'),
    ('MOP', 2, 'Pataca'),
    ('MRU', 2, 'Ouguiya'),
    ('MUR', 2, 'Mauritius Rupee'),
    ('MVR', 2, 'Rufiyaa'),
    ('MWK', 2, 'Malawi Kwacha'),
    ('MXN', 2, 'Mexican Peso'),
    ('MYR', 2, 'Malaysian Ringgit'),
    ('MZN', 2, 'Mozambique Metical'),
    ('NAD', 2, 'Namibia Dollar'),
    ('NGN', 2, 'Naira'),
    ('NIO', 2, 'Cordoba Oro'),
    ('NOK', 2, 'Norwegian Krone'),
    ('NPR', 2, 'Nepalese Rupee'),
    ('NZD', 2, 'New Zealand Dollar'),
    ('OMR', 3, 'Rial Omani'),
    ('PAB', 2, 'Balboa'),
    ('PEN', 2, 'Sol'),
    ('PGK', 2, 'Kina'),
    ('PHP', 2, 'Philippine Peso'),
    ('PKR', 2, 'Pakistan Rupee'),
    ('PLN', 2, 'Zloty'),
    ('PYG', 0, 'Guarani'),
    ('QAR', 2, 'Qatari Rial'),
    ('RON', 2, 'Romanian Leu'),
    ('RSD', 2, 'Serbian Dinar'),
    ('RUB', 2, 'Russian Ruble'),
    ('RWF', 0, 'Rwanda Franc'),
    ('SAR', 2, 'Saudi Riyal'),
    ('SBD', 2, 'Solomon Islands Dollar'),
    ('SCR', 2, 'Seychelles Rupee'),
    ('SDG', 2, 'Sudanese Pound'),
    ('SEK', 2, 'Swedish Krona'),
    ('SGD', 2, 'Singapore Dollar'),
    ('SHP', 2, 'Saint Helena Pound'),
    ('SLE', 2, 'Leone'),
    ('SOS', 2, 'Somali Shilling'),
    ('SRD', 2, 'Surinam Dollar'),
    ('SSP', 2, 'South Sudanese Pound'),
    ('STN', 2, 'Dobra'),
    ('SVC', 2, 'El Salvador Colon'),
    ('SYP', 2, 'Syrian Pound'),
    ('SZL', 2, 'Lilangeni'),
    ('THB', 2, 'Baht'),
    ('TJS', 2, 'Somoni'),
    ('TMT', 2, 'Turkmenistan New Manat'),
    ('TND', 3, 'Tunisian Dinar'),
    ('TOP', 2, 'Pa''anga'),
    ('TRY', 2, 'Turkish Lira'),
    ('TTD', 2, 'Trinidad and Tobago Dollar'),
    ('TWD', 2, 'New Taiwan Dollar'),
    ('TZS', 2, 'Tanzanian Shilling'),
    ('UAH', 2, 'Hryvnia'),
    ('UGX', 0, 'Uganda Shilling'),
    ('USD', 2, 'US Dollar'),
    ('UYU', 2, 'Peso Uruguayo'),
    ('UYW', 4, 'Unidad Previsional'),
    ('UZS', 2, 'Uzbekistan Sum'),
    ('VED', 2, 'Bolívar Digital'),
    ('VES', 2, 'Bolívar Soberano'),
    ('VND', 0, 'Dong'),
    ('VUV', 0, 'Vatu'),
    ('WST', 2, 'Tala'),
    ('XAF', 0, 'CFA Franc BEAC'),
    ('XCD', 2, 'East Caribbean Dollar'),
    ('XCG', 2, 'Caribbean Guilder'),
    ('XOF', 0, 'CFA Franc BCEAO'),
    ('XPF', 0, 'CFP Franc'),
    ('YER', 2, 'Yemeni Rial'),
    ('ZAR', 2, 'Rand'),
    ('ZMW', 2, 'Zambian Kwacha'),
    ('ZWG', 2, 'Zimbabwe Gold');

create function usher.exponent(currency text)
returns smallint
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    found_exponent  smallint;
begin
    select c.exponent into found_exponent
    from usher.currency c where c.code = exponent.currency;

    if found_exponent is null then
        perform usher.fail('400',
            format('currency="%s" cannot be', left(currency, 60)),
            'A currency is three letters of ISO 4217, as EUR; currency_list '
            'shows them.');
    end if;

    return found_exponent;
end
$$;

comment on function usher.exponent(text) is
    'The decimals of a currency; raises if there is none of this code';


create function usher.round_half_even(value numeric)
returns bigint
language plpgsql immutable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    whole  numeric := floor(value);
    rest   numeric := value - whole;
begin
    if rest > 0.5 or (rest = 0.5 and whole % 2 <> 0) then
        whole := whole + 1;
    end if;

    -- What is no number is not between either.
    if whole not between -9223372036854775808 and 9223372036854775807 then
        perform usher.fail('400',
            format('%s is out of bounds', left(value::text, 40)),
            'An amount has at most 18 digits, in minor units.');
    end if;

    return whole;
end
$$;

comment on function usher.round_half_even(numeric) is
    'The nearest whole number, of two the even one; raises beyond bigint';


create function usher.money_of(amount numeric, currency text,
    rounded boolean default false)
returns bigint
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    decimals  smallint := usher.exponent(currency);
    minor     numeric := amount * ('1e' || decimals)::numeric;
begin
    if not rounded and minor <> trunc(minor) then
        perform usher.fail('400',
            format('%s %s cannot be', left(amount::text, 40), currency),
            format('%s has %s decimals; round it, or give no more of them.',
                   currency, decimals));
    end if;

    return usher.round_half_even(minor);
end
$$;

comment on function usher.money_of(numeric, text, boolean) is
    'Minor units of an amount; raises if it has more decimals than the '
    'currency, unless it may be rounded';


create function usher.money_text(minor numeric, currency text)
returns text
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    -- A product has the decimals of its factors, and is exact.
    select (minor * ('1e-' || usher.exponent(currency))::numeric)::text
$$;

comment on function usher.money_text(numeric, text) is
    'Minor units as an amount with all decimals of its currency: 12.30';


create function usher.money_share(amount bigint, rate numeric)
returns bigint
language sql immutable strict
set search_path = pg_catalog, pg_temp
as $$
    select usher.round_half_even(amount * rate)
$$;

comment on function usher.money_share(bigint, numeric) is
    'A share of an amount (rate 0.05: 5 percent), rounded half to even';


-- Rates.

create table usher.fx (
    base        text not null references usher.currency,
    quote       text not null references usher.currency,
    day         date not null check (isfinite(day)),
    -- NaN and infinity are above every number.
    rate        numeric not null check (rate > 0 and rate < 1000000000000),
    source      text not null check (source ~ '^[a-z0-9][a-z0-9-]{0,31}$'),
    created_at  timestamptz not null default now(),
    changed_at  timestamptz,
    primary key (base, quote, day),
    constraint fx_pair check (base <> quote)
);

comment on table usher.fx is 'Exchange rates by day';
comment on column usher.fx.base is 'One of this currency is worth ...';
comment on column usher.fx.quote is '... rate of this one';
comment on column usher.fx.day is 'The day';
comment on column usher.fx.rate is 'Units of quote for one of base';
comment on column usher.fx.source is 'Where it comes from';
comment on column usher.fx.created_at is 'When it was imported';
comment on column usher.fx.changed_at is
    'When an import last changed it; null: never';
comment on constraint fx_pair on usher.fx is 'A pair is of two currencies';


create function usher.fx_find(day date, "from" text, "to" text,
    out rate numeric, out rated_on date)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    four  text[] := array["from", "to", 'EUR', 'USD'];
begin
    -- 40 decimals: more than any amount has digits.
    with pair as materialized (
        select f.day, f.base, f.quote, f.rate
        from usher.fx f
        where f.base = any (four) and f.quote = any (four)
              and f.day between fx_find.day - 7 and fx_find.day
    ), leg as materialized (
        select p.day, p.base as a, p.quote as b, p.rate, 0 as turned
        from pair p
        union all
        select p.day, p.quote, p.base, round(1::numeric, 40) / p.rate, 1
        from pair p
    ), way as (
        select fx_find.day, 1::numeric as rate, -1 as rank
        where "from" = "to"
        union all
        select l.day, l.rate, l.turned
        from leg l
        where l.a = "from" and l.b = "to"
        union all
        select x.day, x.rate * y.rate,
               case x.b when 'EUR' then 2 else 5 end + x.turned + y.turned
        from leg x
        join leg y on y.day = x.day and y.a = x.b
        where x.a = "from" and y.b = "to" and x.b in ('EUR', 'USD')
    )
    select w.rate, w.day into fx_find.rate, fx_find.rated_on
    from way w
    order by w.day desc, w.rank
    limit 1;
end
$$;

comment on function usher.fx_find(date, text, text) is
    'The rate of a day, or of the newest of the 7 days before that has one: '
    'as it is stored, turned round, through EUR, through USD; null: none';


create function usher.fx_rate(day date, "from" text, "to" text)
returns numeric
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    rate  numeric;
begin
    perform usher.exponent("from");
    perform usher.exponent("to");

    select f.rate into rate from usher.fx_find(day, "from", "to") f;

    if rate is null then
        perform usher.fail('404',
            format('there is no rate from %s to %s on %s, nor in the 7 days '
                   'before', "from", "to", coalesce(day::text, 'no day')),
            'fx_import brings rates in: eurofxref-hist.csv of the ECB, or '
            'lines of day,base,quote,rate.');
    end if;

    return rate;
end
$$;

comment on function usher.fx_rate(date, text, text) is
    'What one of a currency is worth in another on a day; raises if that is '
    'not known';


create function usher.money_worth(amount numeric, day date, "from" text,
    "to" text)
returns numeric
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select amount * usher.fx_rate(day, "from", "to")
           * ('1e' || usher.exponent("to") - usher.exponent("from"))::numeric
$$;

comment on function usher.money_worth(numeric, date, text, text) is
    'Minor units of one currency in those of another on a day, not rounded: '
    'for sums, which are rounded once';


-- Cost and revenue.  What an amount belongs to is text of the file.

create domain usher.label as text check (value ~ '^[^[:cntrl:]]{1,200}$');

comment on domain usher.label is
    'What people call a thing: 1 to 200 characters';


create table usher.cost (
    id           bigint generated always as identity primary key,
    org_id       bigint not null references usher.org,
    day          date not null check (isfinite(day)),
    amount       bigint not null,
    currency     text not null references usher.currency,
    campaign     usher.label,
    product      usher.label,
    link         usher.label,
    sub_id       usher.label,
    country      text check (country ~ '^[A-Z]{2}$'),
    source       text not null check (source ~ '^[a-z0-9][a-z0-9-]{0,31}$'),
    external_id  usher.label not null,
    created_at   timestamptz not null default now(),
    changed_at   timestamptz,
    unique (org_id, source, external_id)
);

create index cost_day on usher.cost (org_id, day);

comment on table usher.cost is 'What was spent, by day';
comment on column usher.cost.id is 'Number';
comment on column usher.cost.org_id is 'Whose it is';
comment on column usher.cost.day is 'Day that it belongs to';
comment on column usher.cost.amount is
    'Minor units; below 0: given back';
comment on column usher.cost.currency is 'Its currency';
comment on column usher.cost.campaign is 'Campaign, if it is of one';
comment on column usher.cost.product is 'Product, if it is of one';
comment on column usher.cost.link is 'Link, if it is of one';
comment on column usher.cost.sub_id is 'Sub id, if it is of one';
comment on column usher.cost.country is
    'Country by ISO 3166, if it is of one';
comment on column usher.cost.source is 'Where it was imported from';
comment on column usher.cost.external_id is
    'What the source calls it, so that it is here once';
comment on column usher.cost.created_at is 'When it was imported';
comment on column usher.cost.changed_at is
    'When an import last changed it; null: never';
comment on sequence usher.cost_id_seq is 'Numbers of usher.cost';
comment on index usher.cost_day is 'An org''s days';


-- Revenue has the same columns and rules, which keep the names that cost's
-- have; what refers to other tables is not copied.

create table usher.revenue (
    like usher.cost including all,
    foreign key (org_id) references usher.org,
    foreign key (currency) references usher.currency
);

alter index usher.revenue_org_id_day_idx rename to revenue_day;

comment on table usher.revenue is 'What was earned, by day';
comment on column usher.revenue.amount is
    'Minor units; below 0: taken back';
comment on sequence usher.revenue_id_seq is 'Numbers of usher.revenue';
