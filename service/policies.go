package service

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/policy"
	"portcullis.dev/portcullis/policy/parse"
)

func policyKind() *kind[Policy] {
	return &kind[Policy]{
		name: "policies", permission: policy.PermissionGovernance, keyFields: []string{"name"},
		key:       func(p *Policy) []string { return []string{p.Name} },
		normalize: normalizePolicy,
		public: func(p Policy) Policy {
			p.ID, p.Version, p.Remarks = "", 0, nil
			return p
		},
		list:   listPolicies,
		put:    putPolicy,
		verify: verifyPolicy,
		state: func(c *change, p *Policy, _ bool) {
			c.stated = append(c.stated, statedPolicy{c.place, p})
		},
		annotate: annotatePolicies,
		remove: func(ctx context.Context, c *change, p *Policy) error {
			_, err := c.Exec(ctx, "DELETE FROM portcullis.policies WHERE name = $1", p.Name)
			return err
		},
	}
}

func normalizePolicy(p *Policy) error {
	if err := checkName("name", p.Name, 256); err != nil {
		return err
	}
	p.ID, p.Version, p.Remarks = "", 0, nil
	if err := checkTags("on.tags", p.On.Tags); err != nil {
		return err
	}
	p.On.DataSources = canonicalNames(p.On.DataSources)
	if !p.On.All && len(p.On.DataSources) == 0 && len(p.On.Tags) == 0 {
		return invalid("on", "choose data sources: set all, data_sources or tags")
	}
	if p.On.All && len(p.On.DataSources)+len(p.On.Tags) > 0 {
		return invalid("on.all", "does not go with data_sources or tags, which choose some: leave it out, or them")
	}
	if p.Except != nil {
		if err := p.Except.Validate(); err != nil {
			return invalid("except", "%v", err)
		}
	}
	switch p.Kind {
	case policy.KindSubscription:
		return normalizeSubscriptionPolicy(p)
	case policy.KindMask:
		return normalizeMaskPolicy(p)
	case policy.KindFilter:
		return normalizeFilterPolicy(p)
	}
	return invalid("kind", "must be subscription, mask or filter, not %q", p.Kind)
}

// canonicalNames are names of data sources, those of tables of connections as these are stored.
func canonicalNames(names []string) []string {
	var out []string
	for _, name := range names {
		out = append(out, canonicalName(name))
	}
	return out
}

// canonicalName leaves a name without dots alone: it is none of a connection's tables.
func canonicalName(name string) string {
	if !strings.Contains(name, ".") {
		return name
	}
	return connection.Canonical(name)
}

func normalizeSubscriptionPolicy(p *Policy) error {
	if p.Who == nil {
		return invalid("who", "a subscription policy says whom it subscribes")
	}
	if err := p.Who.Validate(); err != nil {
		return invalid("who", "%v", err)
	}
	if p.Access == "" {
		p.Access = policy.AccessRead
	}
	if err := checkAccess(p.Access); err != nil {
		return err
	}
	return unused(map[string]bool{"except": p.Except != nil, "columns": p.Columns != nil, "mask": p.Mask != nil, "final": p.Final, "filter": p.Filter != ""}, p.Kind)
}

func normalizeMaskPolicy(p *Policy) error {
	if p.Columns == nil || len(p.Columns.Names) == 0 && len(p.Columns.Tags) == 0 {
		return invalid("columns", "choose columns by names or tags")
	}
	if err := checkTags("columns.tags", p.Columns.Tags); err != nil {
		return err
	}
	if p.Mask == nil {
		return invalid("mask", "a mask policy needs a mask")
	}
	if len(p.Mask.Key) > 0 {
		return invalid("mask.key", "keys are made by the service")
	}
	if p.Mask.Policy != "" {
		return invalid("mask.policy", "is not for requests")
	}
	if err := checkMaskKind(p.Mask); err != nil {
		return err
	}
	return unused(map[string]bool{"who": p.Who != nil, "access": p.Access != "", "filter": p.Filter != ""}, p.Kind)
}

func checkTags(field string, tags []string) error {
	for i, t := range tags {
		if err := policy.CheckTag(t); err != nil {
			return invalid(indexed(field, i), "%v", err)
		}
	}
	return nil
}

// checkMaskKind checks the mask by itself, on a type that suits its kind.
func checkMaskKind(m *policy.Mask) error {
	sample := map[policy.MaskKind]string{
		policy.MaskNull: "text", policy.MaskConstant: "text", policy.MaskHash: "text", policy.MaskRegex: "text",
		policy.MaskRound: "numeric", policy.MaskTruncate: "timestamp with time zone",
	}
	typeName, ok := sample[m.Kind]
	if m.Kind == "" {
		e := invalid("mask.kind", "is missing or null: use null, constant, hash, regex, round or truncate")
		e.Hint = `The mask that shows NULL has its name in quotes in a state file: {kind: "null"}. Without them YAML reads no value.`
		return e
	}
	if !ok {
		return invalid("mask.kind", "unknown mask %q: use null, constant, hash, regex, round or truncate", m.Kind)
	}
	if m.Nulls == "keep" {
		m.Nulls = policy.NullsKeep
	}
	if err := m.CheckNulls(); err != nil {
		return invalid("mask.nulls", "%v", err)
	}
	field := map[policy.MaskKind]string{policy.MaskRegex: "mask.pattern", policy.MaskRound: "mask.base", policy.MaskTruncate: "mask.unit"}[m.Kind]
	if err := m.Validate(typeName); err != nil {
		anywhere := *m
		anywhere.Zone = ""
		if m.Kind == policy.MaskTruncate && anywhere.Validate(typeName) == nil {
			field = "mask.zone"
		}
		return invalid(field, "%v", err)
	}
	foreign := map[string]bool{
		"mask.constant":    m.Constant != nil && m.Kind != policy.MaskConstant,
		"mask.pattern":     m.Pattern != "" && m.Kind != policy.MaskRegex,
		"mask.replacement": m.Replacement != "" && m.Kind != policy.MaskRegex,
		"mask.global":      m.Global && m.Kind != policy.MaskRegex,
		"mask.keep":        m.Keep && m.Kind != policy.MaskRegex,
		"mask.base":        m.Base != "" && m.Kind != policy.MaskRound,
		"mask.unit":        m.Unit != "" && m.Kind != policy.MaskTruncate,
		"mask.zone":        m.Zone != "" && m.Kind != policy.MaskTruncate,
	}
	for _, name := range sortedKeys(foreign) {
		if foreign[name] {
			return invalid(name, "does not belong to a mask of kind %s", m.Kind)
		}
	}
	return nil
}

func normalizeFilterPolicy(p *Policy) error {
	if _, err := parse.Condition(p.Filter); err != nil {
		return filterError(err)
	}
	return unused(map[string]bool{"who": p.Who != nil, "access": p.Access != "", "columns": p.Columns != nil, "mask": p.Mask != nil, "final": p.Final}, p.Kind)
}

func filterError(err error) error {
	e := invalid("filter", "%v", err)
	var ce *policy.ConditionError
	switch {
	case !errors.As(err, &ce):
	case ce.Unsupported:
		e.Code = "not_supported"
	default:
		e.Hint = "Row conditions are built of columns, constants, = <> < <= > >=, IN, BETWEEN, IS NULL, AND, OR, NOT and the documented @functions."
	}
	return e
}

func unused(set map[string]bool, kind policy.Kind) error {
	for _, name := range sortedKeys(set) {
		if set[name] {
			return invalid(name, "does not belong to a policy of kind %s", kind)
		}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	return sortedSet(keys)
}

func listPolicies(ctx context.Context, q querier, key []string) ([]Policy, error) {
	rows, err := q.Query(ctx, `SELECT id::text, version, body FROM portcullis.policies WHERE $1::text IS NULL OR name = $1 ORDER BY age_order`, part(key, 0))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (p Policy, err error) {
		var id string
		var version int64
		var body []byte
		if err := r.Scan(&id, &version, &body); err != nil {
			return p, err
		}
		err = json.Unmarshal(body, &p)
		p.ID, p.Version = id, version
		if p.Kind == policy.KindSubscription && p.Access == "" {
			p.Access = policy.AccessRead // stored before there was a choice
		}
		return p, err
	})
}

func putPolicy(ctx context.Context, c *change, p, old *Policy) error {
	if err := checkAgainstData(ctx, c, p); err != nil {
		return err
	}
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	p.ID = uuid.NewString()
	if old != nil {
		p.ID = old.ID
	}
	err = c.QueryRow(ctx, `INSERT INTO portcullis.policies (id, name, kind, body) VALUES ($1, $2, $3, $4)
		ON CONFLICT (name) DO UPDATE SET kind = EXCLUDED.kind, body = EXCLUDED.body, version = portcullis.policies.version + 1
		RETURNING version`, p.ID, p.Name, p.Kind, body).Scan(&p.Version)
	if err != nil {
		return err
	}
	if _, err = c.Exec(ctx, "INSERT INTO portcullis.policy_history (id, version, body) VALUES ($1, $2, $3)", p.ID, p.Version, body); err != nil {
		return err
	}
	return forgetFollowed(ctx, c, p)
}

// checkAgainstData checks the policy on the data sources that it names. Those
// chosen by tag come and go: what does not fit there denies when it is asked.
func checkAgainstData(ctx context.Context, c *change, p *Policy) error {
	all, err := loadDataSources(ctx, c, c.store)
	if err != nil {
		return err
	}
	byName := map[string]*policy.DataSource{}
	for _, ds := range all {
		byName[ds.Name] = ds
	}
	for _, name := range p.On.DataSources {
		if ds := byName[name]; ds != nil {
			if err := checkOnDataSource(p, ds); err != nil {
				return err
			}
		}
	}
	return checkNamedColumns(p, byName)
}

// verifyPolicy refuses names that mean nothing.
func verifyPolicy(ctx context.Context, c *change, p *Policy) error {
	for i, name := range p.On.DataSources {
		var known bool
		if err := c.QueryRow(ctx, "SELECT EXISTS (SELECT FROM portcullis.data_sources WHERE name = $1)", name).Scan(&known); err != nil {
			return err
		}
		if known {
			continue
		}
		// A table of a connection may be named before it is seen.
		connection, err := connectionOf(ctx, c, name)
		if err != nil {
			return err
		}
		if connection == "" {
			return invalid(indexed("on.data_sources", i), "there is no data source %q", name)
		}
	}
	m := p.model(0)
	return checkReferences(ctx, c, m.References())
}

// checkNamedColumns refuses a column that none of the data sources has, where
// the policy names them all and all are known.
func checkNamedColumns(p *Policy, byName map[string]*policy.DataSource) error {
	if p.Columns == nil || p.On.All || len(p.On.Tags) > 0 {
		return nil
	}
	for _, name := range p.On.DataSources {
		if ds := byName[name]; ds == nil || !isLearned(ds) {
			return nil
		}
	}
	for i, column := range p.Columns.Names {
		if !slices.ContainsFunc(p.On.DataSources, func(name string) bool { return columnNamed(byName[name], column) != nil }) {
			return invalid(indexed("columns.names", i), "no data source that the policy names has a column %q", column)
		}
	}
	return nil
}

// isLearned tells that the columns of a data source are known.
func isLearned(ds *policy.DataSource) bool {
	return len(ds.Columns) > 0 && !slices.ContainsFunc(ds.Columns, func(c policy.TaggedColumn) bool { return c.Type == "" })
}

func checkOnDataSource(p *Policy, ds *policy.DataSource) error {
	if !isLearned(ds) {
		return nil
	}
	switch p.Kind {
	case policy.KindFilter:
		cond, err := parse.Condition(p.Filter)
		if err == nil {
			err = cond.Check(ds)
		}
		if err != nil {
			return filterError(err)
		}
	case policy.KindMask:
		return checkMaskOn(p, ds)
	}
	return nil
}

func checkMaskOn(p *Policy, ds *policy.DataSource) error {
	for _, name := range p.Columns.Names {
		col := columnNamed(ds, name)
		if col == nil {
			continue
		}
		if err := p.Mask.Suits(col.Type); err != nil {
			return invalid("mask", "column %q of data source %q: %v", name, ds.Name, err)
		}
	}
	return nil
}

func columnNamed(ds *policy.DataSource, name string) *policy.TaggedColumn {
	for i := range ds.Columns {
		if ds.Columns[i].Name == name {
			return &ds.Columns[i]
		}
	}
	return nil
}
