-- id = 5
   total: ("id" = CAST(? AS pg_catalog.int4)) | text "5"
-- id between 3 and 9 and s is not null
   total: ("s" IS NOT NULL)
   total: ("id" >= CAST(? AS pg_catalog.int4)) | text "3"
   total: ("id" <= CAST(? AS pg_catalog.int4)) | text "9"
-- s = 'it''s \ {x} "q"'
   total: (CAST("s" AS pg_catalog.text) = CAST(? AS pg_catalog.text) AND CAST("s" AS pg_catalog.text) COLLATE pg_catalog."C" = CAST(? AS pg_catalog.text)) | text "it's \\ {x} \"q\"" | text "it's \\ {x} \"q\""
-- v in ('a','b c',null)
   total: (CAST("v" AS pg_catalog.text) = ANY (CAST(? AS pg_catalog.text[])) AND CAST("v" AS pg_catalog.text) COLLATE pg_catalog."C" = ANY (CAST(? AS pg_catalog.text[]))) | text "{a,\"b c\",NULL}" | text "{a,\"b c\",NULL}"
-- id <> all ('{1,2}')
   total: ("id" <> ALL (CAST(? AS pg_catalog.int4[]))) | text "{1,2}"
-- not k or (k is true) or k is not unknown
   total: ((NOT "k") OR ("k" IS TRUE) OR ("k" IS NOT NULL))
-- s like 'a%'
   guarded: (CAST("s" AS pg_catalog.text) COLLATE pg_catalog."C" LIKE CAST(? AS pg_catalog.text)) | text "a%"
-- n * 2 > 10.5
   fallible: (("n" * CAST(? AS pg_catalog.numeric)) > CAST(? AS pg_catalog.numeric)) | text "2" | text "10.5"
-- coalesce(s, v, 'x') = 'y'
   total: (COALESCE(CAST("s" AS pg_catalog.text) COLLATE pg_catalog."C", CAST("v" AS pg_catalog.text) COLLATE pg_catalog."C", CAST(? AS pg_catalog.text)) = CAST(? AS pg_catalog.text)) | text "x" | text "y"
-- case when id > 1 then s else 'z' end = 'q'
   guarded: (CASE WHEN ("id" > CAST(? AS pg_catalog.int4)) THEN CAST("s" AS pg_catalog.text) COLLATE pg_catalog."C" ELSE CAST(? AS pg_catalog.text) END = CAST(? AS pg_catalog.text)) | text "1" | text "z" | text "q"
-- case id when 1 then 2 else 3 end = 4
   here: this form of CASE is computed here
-- s is distinct from 'a'
   total: (CAST("s" AS pg_catalog.text) COLLATE pg_catalog."C" IS DISTINCT FROM CAST(? AS pg_catalog.text)) | text "a"
-- nullif(id, 3) = 4
   guarded: (NULLIF("id", CAST(? AS pg_catalog.int4)) = CAST(? AS pg_catalog.int4)) | text "3" | text "4"
-- greatest(id, 3) = 4
   here: this expression is computed here
-- s collate "C" < 'm'
   total: (CAST("s" AS pg_catalog.text) COLLATE pg_catalog."C" < CAST(? AS pg_catalog.text)) | text "m"
-- c = 'ab'
   total: (CAST("c" AS pg_catalog.bpchar) = CAST(? AS pg_catalog.bpchar) AND CAST("c" AS pg_catalog.bpchar) COLLATE pg_catalog."C" = CAST(? AS pg_catalog.bpchar)) | text "ab   " | text "ab   "
-- d < timestamp '2020-01-01'
   total: ("d" < CAST(? AS pg_catalog.timestamp)) | text "2020-01-01 00:00:00"
-- f::text = '1'
   here: this expression is computed here
-- r + 1 > id
   guarded: (("r" + CAST(? AS pg_catalog.int4)) > "id") | text "1"
-- b + 7 = 9
   fallible: (("b" + CAST(? AS pg_catalog.int4)) = CAST(? AS pg_catalog.int4)) | text "7" | text "9"
-- id::int8 + 7::int8 = 9
   guarded: ((pg_catalog.int8("id") + CAST(? AS pg_catalog.int8)) = CAST(? AS pg_catalog.int4)) | text "7" | text "9"
-- length(s) > 3
   guarded: (pg_catalog.length(CAST("s" AS pg_catalog.text) COLLATE pg_catalog."C") > CAST(? AS pg_catalog.int4)) | text "3"
-- (id, b) < (1, 2)
   here: ROWCOMPAREEXPR is not known to the remote source
-- t is null
   here: IS NULL of a composite value is computed here
-- t.tableoid = 5
   here: values of type 26 are compared here
-- u = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'
   total: ("u" = CAST(? AS pg_catalog.uuid)) | text "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
-- array[id] = '{1}'
   here: values of type 2277 are compared here
