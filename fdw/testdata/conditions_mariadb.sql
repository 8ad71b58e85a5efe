-- id = 5
   total: (`id` = CAST(? AS SIGNED)) | int 5
-- id between 3 and 9 and s is not null
   total: (NOT (`s` IS NULL))
   total: (`id` >= CAST(? AS SIGNED)) | int 3
   total: (`id` <= CAST(? AS SIGNED)) | int 9
-- s = 'it''s \ {x} "q"'
   total: (`s` = ? AND CAST(CONVERT(`s` USING utf8mb4) AS BINARY) = CAST(? AS BINARY)) | text "it's \\ {x} \"q\"" | text "it's \\ {x} \"q\""
-- v in ('a','b c',null)
   total: (`v` IN (?, ?, NULL) AND CAST(CONVERT(`v` USING utf8mb4) AS BINARY) IN (CAST(? AS BINARY), CAST(? AS BINARY), NULL)) | text "a" | text "b c" | text "a" | text "b c"
-- id <> all ('{1,2}')
   total: (NOT (`id` IN (CAST(? AS SIGNED), CAST(? AS SIGNED)))) | int 1 | int 2
-- not k or (k is true) or k is not unknown
   total: ((NOT ((`k` <> 0))) OR (((`k` <> 0)) IS TRUE) OR (((`k` <> 0)) IS NOT NULL))
-- s like 'a%'
   guarded: (CONVERT(`s` USING utf8mb4) COLLATE utf8mb4_nopad_bin LIKE ? ESCAPE '|') | text "a%"
-- n * 2 > 10.5
   here: * on numeric is computed here
-- coalesce(s, v, 'x') = 'y'
   total: (COALESCE(CAST(CONVERT(`s` USING utf8mb4) AS BINARY), CAST(CONVERT(`v` USING utf8mb4) AS BINARY), CAST(? AS BINARY)) = CAST(? AS BINARY)) | text "x" | text "y"
-- case when id > 1 then s else 'z' end = 'q'
   guarded: (CASE WHEN (`id` > CAST(? AS SIGNED)) THEN CAST(CONVERT(`s` USING utf8mb4) AS BINARY) ELSE CAST(? AS BINARY) END = CAST(? AS BINARY)) | int 1 | text "z" | text "q"
-- case id when 1 then 2 else 3 end = 4
   here: this form of CASE is computed here
-- s is distinct from 'a'
   total: (NOT (CAST(CONVERT(`s` USING utf8mb4) AS BINARY) <=> CAST(? AS BINARY))) | text "a"
-- nullif(id, 3) = 4
   guarded: (NULLIF(`id`, CAST(? AS SIGNED)) = CAST(? AS SIGNED)) | int 3 | int 4
-- greatest(id, 3) = 4
   here: this expression is computed here
-- s collate "C" < 'm'
   total: (CAST(CONVERT(`s` USING utf8mb4) AS BINARY) < CAST(? AS BINARY)) | text "m"
-- c = 'ab'
   total: (CAST(TRIM(TRAILING ' ' FROM CONVERT(`c` USING utf8mb4)) AS BINARY) = CAST(? AS BINARY)) | text "ab"
-- d < timestamp '2020-01-01'
   total: (`d` < CAST(? AS DATETIME(6))) | text "2020-01-01 00:00:00"
-- f::text = '1'
   here: this expression is computed here
-- r + 1 > id
   guarded: ((CAST(`r` AS SIGNED) + CAST(CAST(? AS SIGNED) AS SIGNED)) > `id`) | int 1
-- b + 7 = 9
   here: operator + could overflow, where PostgreSQL fails and the source may not
-- id::int8 + 7::int8 = 9
   guarded: ((CAST(`id` AS SIGNED) + CAST(CAST(? AS SIGNED) AS SIGNED)) = CAST(? AS SIGNED)) | int 7 | int 9
-- length(s) > 3
   here: length on integer is computed here
-- (id, b) < (1, 2)
   here: ROWCOMPAREEXPR is not known to the remote source
-- t is null
   here: IS NULL of a composite value is computed here
-- t.tableoid = 5
   here: values of type 26 are compared here
-- u = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'
   here: MariaDB compares uuid in another way
-- array[id] = '{1}'
   here: values of type 2277 are compared here
