package service

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/fdw"
	"portcullis.dev/portcullis/policy"
)

func sourceKind() *kind[Source] {
	return &kind[Source]{
		name: "sources", permission: policy.PermissionSourceAdmin, keyFields: []string{"name"},
		nodeMethods: []string{"GET", "PUT"},

		key:       func(s *Source) []string { return []string{s.Name} },
		normalize: normalizeSource,
		public: func(s Source) Source {
			s.Password, s.PasswordFile, s.HasPassword, s.RegisteredBy = nil, "", false, ""
			return s
		},
		list:   listSources,
		put:    putSource,
		settle: settleSource,
		remove: func(ctx context.Context, c *change, s *Source) error {
			_, err := c.Exec(ctx, "DELETE FROM portcullis.sources WHERE name = $1", s.Name)
			return err
		},
	}
}

func normalizeSource(s *Source) error {
	if err := checkIdentifier("name", s.Name); err != nil {
		return err
	}
	if err := checkName("driver", s.Driver, 256); err != nil {
		return err
	}
	if strings.ContainsAny(s.Driver, "/\\") {
		return invalid("driver", "must be the name of a driver registered with unixODBC, not a path")
	}
	if s.Port < 0 || s.Port > 65535 {
		return invalid("port", "must be between 0 and 65535, not %d", s.Port)
	}
	for name := range s.Options {
		switch name {
		case "driver", "host", "port", "database":
			return invalid("options."+name, "is a field of its own")
		case "username", "password", "password_sealed", "":
			return invalid("options."+name, "does not belong into options")
		}
	}
	if s.PasswordFile != "" {
		return invalid("password_file", "is for state files: send password")
	}
	if len(s.Options) == 0 {
		s.Options = nil
	}
	if err := checkServer(s); err != nil {
		return err
	}
	if s.Unmanaged && (s.Username != "" || s.Password != nil) {
		return invalid("username", "does not belong to an unmanaged source: its credential is in the user mapping that its administrator made")
	}
	s.HasPassword, s.RegisteredBy = false, ""
	return normalizeLimits(s)
}

// checkServer checks the options of the foreign server by the rules of the
// node's library, which would refuse them later and elsewhere.
func checkServer(s *Source) error {
	check := fdw.CheckSource
	if s.Unmanaged { // its administrator's server may leave things to defaults
		check = fdw.WrongServerOption
	}
	option, err := check(serverOptions(*s))
	if err != nil {
		return optionError(option, err)
	}
	for field, value := range map[string]*string{"username": &s.Username, "password": s.Password} {
		if value == nil {
			continue
		}
		if err := fdw.ValidateOptions('m', map[string]string{field: *value}); err != nil {
			return optionError(field, err)
		}
	}
	return nil
}

// optionError names the field of a source that an option of its server comes from.
func optionError(option string, err error) error {
	field := "options." + option
	switch option {
	case "driver", "host", "port", "database", "username", "password":
		field = option
	}
	e := invalid(field, "%v", err)
	var fe *fdw.Error
	if errors.As(err, &fe) {
		e.Message, e.Hint = fe.Message, fe.Hint
	}
	return e
}

func listSources(ctx context.Context, q querier, key []string) ([]Source, error) {
	rows, err := q.Query(ctx, `SELECT name, driver, host, port, database, options, username, sealed_password IS NOT NULL, unmanaged, registered_by FROM portcullis.sources
		WHERE $1::text IS NULL OR name = $1 ORDER BY name`, part(key, 0))
	if err != nil {
		return nil, err
	}
	sources, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (s Source, err error) {
		var options []byte
		if err := r.Scan(&s.Name, &s.Driver, &s.Host, &s.Port, &s.Database, &options, &s.Username, &s.HasPassword, &s.Unmanaged, &s.RegisteredBy); err != nil {
			return s, err
		}
		err = json.Unmarshal(options, &s.Options)
		if len(s.Options) == 0 {
			s.Options = nil
		}
		return s, err
	})
	if err != nil {
		return nil, err
	}
	return sources, readLimits(ctx, q, key, sources)
}

func putSource(ctx context.Context, c *change, s, old *Source) error {
	if err := mayPutSource(c, s, old); err != nil {
		return err
	}
	options := s.Options
	if options == nil {
		options = map[string]string{}
	}
	var sealed *string
	if s.Password != nil {
		text, err := c.store.key.Seal([]byte(*s.Password))
		if err != nil {
			return err
		}
		sealed = &text
		s.HasPassword = true
	}
	_, err := c.Exec(ctx, `INSERT INTO portcullis.sources (name, driver, host, port, database, options, username, sealed_password, unmanaged, registered_by)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (name) DO UPDATE SET driver = EXCLUDED.driver, host = EXCLUDED.host, port = EXCLUDED.port, database = EXCLUDED.database,
			options = EXCLUDED.options, username = EXCLUDED.username, unmanaged = EXCLUDED.unmanaged,
			sealed_password = CASE WHEN EXCLUDED.unmanaged THEN NULL ELSE coalesce(EXCLUDED.sealed_password, portcullis.sources.sealed_password) END`,
		s.Name, s.Driver, s.Host, s.Port, s.Database, options, s.Username, sealed, s.Unmanaged, c.node)
	if err != nil {
		return err
	}
	return putLimits(ctx, c, s)
}

// mayPutSource lets a node's key register servers that its administrator made.
func mayPutSource(c *change, s, old *Source) error {
	switch {
	case c.node == "":
		return nil
	case old != nil:
		if err := c.mayChange(s.Name, old.RegisteredBy); err != nil {
			return err
		}
	}
	if !s.Unmanaged {
		return invalid("unmanaged", "must be true: a node's key registers servers that its administrator made")
	}
	return nil
}

// settleSource forgets a stated password that equals the stored one.
func settleSource(ctx context.Context, c *change, s *Source) error {
	if s.Password == nil {
		return nil
	}
	stored, err := sourcePassword(ctx, c, c.store, s.Name)
	if err != nil || stored == nil {
		return err
	}
	if *stored == *s.Password {
		s.Password = nil
	}
	return nil
}

// sourcePassword opens the stored password of a source; nil: none stored.
func sourcePassword(ctx context.Context, q querier, s *Store, name string) (*string, error) {
	var sealed *string
	if err := q.QueryRow(ctx, "SELECT sealed_password FROM portcullis.sources WHERE name = $1", name).Scan(&sealed); err != nil || sealed == nil {
		return nil, err
	}
	raw, err := s.key.Unseal(*sealed)
	if err != nil {
		return nil, err
	}
	text := string(raw)
	return &text, nil
}
