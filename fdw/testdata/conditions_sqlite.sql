-- id = 5
   total: ("r1"."id" = ?) | int 5
-- id between 3 and 9 and s is not null
   total: ("r1"."s" IS NOT NULL)
   total: ("r1"."id" >= ?) | int 3
   total: ("r1"."id" <= ?) | int 9
-- s = 'it''s \ {x} "q"'
   total: (("r1"."s" COLLATE BINARY = ? OR "r1"."s" < '') AND CAST("r1"."s" AS TEXT) COLLATE BINARY = ?) | text "it's \\ {x} \"q\"" | text "it's \\ {x} \"q\""
-- v in ('a','b c',null)
   total: (("r1"."v" COLLATE BINARY IN (?, ?, NULL) OR "r1"."v" < '') AND CAST("r1"."v" AS TEXT) COLLATE BINARY IN (?, ?, NULL)) | text "a" | text "b c" | text "a" | text "b c"
-- id <> all ('{1,2}')
   total: (NOT ("r1"."id" IN (?, ?))) | int 1 | int 2
-- not k or (k is true) or k is not unknown
   total: ((NOT ("r1"."k")) OR (("r1"."k") IS TRUE) OR (("r1"."k") IS NOT NULL))
-- s like 'a%'
   guarded: (CAST("r1"."s" AS TEXT) COLLATE BINARY GLOB ?) | text "a*"
-- n * 2 > 10.5
   here: SQLite has no type numeric
-- coalesce(s, v, 'x') = 'y'
   total: (COALESCE(CAST("r1"."s" AS TEXT) COLLATE BINARY, CAST("r1"."v" AS TEXT) COLLATE BINARY, ?) = ?) | text "x" | text "y"
-- case when id > 1 then s else 'z' end = 'q'
   guarded: (CASE WHEN ("r1"."id" > ?) THEN CAST("r1"."s" AS TEXT) COLLATE BINARY ELSE ? END = ?) | int 1 | text "z" | text "q"
-- case id when 1 then 2 else 3 end = 4
   here: this form of CASE is computed here
-- s is distinct from 'a'
   total: (CAST("r1"."s" AS TEXT) COLLATE BINARY IS NOT ?) | text "a"
-- nullif(id, 3) = 4
   guarded: (NULLIF("r1"."id", ?) = ?) | int 3 | int 4
-- greatest(id, 3) = 4
   here: this expression is computed here
-- s collate "C" < 'm'
   total: (CAST("r1"."s" AS TEXT) COLLATE BINARY < ?) | text "m"
-- c = 'ab'
   total: (rtrim(CAST("r1"."c" AS TEXT), ' ') COLLATE BINARY = ?) | text "ab"
-- d < timestamp '2020-01-01'
   here: SQLite has no type timestamp
-- f::text = '1'
   here: this expression is computed here
-- r + 1 > id
   guarded: (("r1"."r" + ?) > "r1"."id") | int 1
-- b + 7 = 9
   here: operator + could overflow, where PostgreSQL fails and the source may not
-- id::int8 + 7::int8 = 9
   guarded: (("r1"."id" + ?) = ?) | int 7 | int 9
-- length(s) > 3
   here: length on integer is computed here
-- (id, b) < (1, 2)
   here: ROWCOMPAREEXPR is not known to the remote source
-- t is null
   here: IS NULL of a composite value is computed here
-- t.tableoid = 5
   here: values of type 26 are compared here
-- u = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'
   here: SQLite has no type uuid
-- array[id] = '{1}'
   here: values of type 2277 are compared here
