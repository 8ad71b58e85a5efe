-- id = 5
   total: (`id` = ?) | int 5
-- id between 3 and 9 and s is not null
   total: (`s` IS NOT NULL)
   total: (`id` >= ?) | int 3
   total: (`id` <= ?) | int 9
-- s = 'it''s \ {x} "q"'
   total: ((`s` COLLATE BINARY = ? OR `s` < '') AND CAST(`s` AS TEXT) COLLATE BINARY = ?) | text "it's \\ {x} \"q\"" | text "it's \\ {x} \"q\""
-- v in ('a','b c',null)
   total: ((`v` COLLATE BINARY IN (?, ?, NULL) OR `v` < '') AND CAST(`v` AS TEXT) COLLATE BINARY IN (?, ?, NULL)) | text "a" | text "b c" | text "a" | text "b c"
-- id <> all ('{1,2}')
   total: (NOT (`id` IN (?, ?))) | int 1 | int 2
-- not k or (k is true) or k is not unknown
   total: ((NOT (`k`)) OR ((`k`) IS TRUE) OR ((`k`) IS NOT NULL))
-- s like 'a%'
   guarded: (CAST(`s` AS TEXT) COLLATE BINARY GLOB ?) | text "a*"
-- n * 2 > 10.5
   here: SQLite has no type numeric
-- coalesce(s, v, 'x') = 'y'
   total: (COALESCE(CAST(`s` AS TEXT) COLLATE BINARY, CAST(`v` AS TEXT) COLLATE BINARY, ?) = ?) | text "x" | text "y"
-- case when id > 1 then s else 'z' end = 'q'
   guarded: (CASE WHEN (`id` > ?) THEN CAST(`s` AS TEXT) COLLATE BINARY ELSE ? END = ?) | int 1 | text "z" | text "q"
-- case id when 1 then 2 else 3 end = 4
   here: this form of CASE is computed here
-- s is distinct from 'a'
   total: (CAST(`s` AS TEXT) COLLATE BINARY IS NOT ?) | text "a"
-- nullif(id, 3) = 4
   guarded: (NULLIF(`id`, ?) = ?) | int 3 | int 4
-- greatest(id, 3) = 4
   here: this expression is computed here
-- s collate "C" < 'm'
   total: (CAST(`s` AS TEXT) COLLATE BINARY < ?) | text "m"
-- c = 'ab'
   total: (rtrim(CAST(`c` AS TEXT), ' ') COLLATE BINARY = ?) | text "ab"
-- d < timestamp '2020-01-01'
   here: SQLite has no type timestamp
-- f::text = '1'
   here: this expression is computed here
-- r + 1 > id
   guarded: ((`r` + ?) > `id`) | int 1
-- b + 7 = 9
   here: operator + could overflow, where PostgreSQL fails and the source may not
-- id::int8 + 7::int8 = 9
   guarded: ((`id` + ?) = ?) | int 7 | int 9
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
