package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"portcullis.dev/portcullis/connection/mapping"
	"portcullis.dev/portcullis/service"
)

// connectionState serves enable, disable and inherit.
func connectionState(ctx context.Context, i *invocation) error {
	ahead := i.flags.Bool("ahead", false, aboutAhead)
	c, err := i.call(1, 1)
	if err != nil {
		return err
	}
	defer c.Close()
	state := i.action
	if strings.Contains(i.args[0], ".") {
		return i.editObject(ctx, c, i.args[0], "", *ahead, func(o *service.ObjectSettings) { o.State = state })
	}
	if state == "inherit" {
		return usage(i.flags, i.io, "a connection has nothing to inherit from: enable or disable it")
	}
	return editConnection(ctx, c, i.args[0], func(v *service.Connection) { v.State = state })
}

func connectionTag(ctx context.Context, i *invocation) error {
	remove := i.flags.Bool("remove", false, "remove the tags")
	column := i.flags.String("column", "", "tag this `column` of a table")
	ahead := i.flags.Bool("ahead", false, aboutAhead)
	c, err := i.call(2, -1)
	if err != nil {
		return err
	}
	defer c.Close()
	name, tags := i.args[0], i.args[1:]
	edit := func(have []string) []string {
		if *remove {
			return slices.DeleteFunc(have, func(t string) bool { return slices.Contains(tags, t) })
		}
		return append(have, tags...)
	}
	if !strings.Contains(name, ".") {
		if *column != "" {
			return usage(i.flags, i.io, "--column needs a table: connection.database.schema.table")
		}
		return editConnection(ctx, c, name, func(v *service.Connection) { v.Tags = edit(v.Tags) })
	}
	return i.editObject(ctx, c, name, *column, *ahead, func(o *service.ObjectSettings) {
		if *column == "" {
			o.Tags = edit(o.Tags)
			return
		}
		for n := range o.Columns {
			if o.Columns[n].Name == *column {
				o.Columns[n].Tags = edit(o.Columns[n].Tags)
				return
			}
		}
		o.Columns = append(o.Columns, service.ColumnTags{Name: *column, Tags: edit(nil)})
	})
}

func editConnection(ctx context.Context, c *service.Client, name string, edit func(*service.Connection)) error {
	var v service.Connection
	at := path("connections", name)
	if err := c.Call(ctx, http.MethodGet, at, nil, &v); err != nil {
		return err
	}
	edit(&v)
	return c.Call(ctx, http.MethodPut, at, v, nil)
}

const aboutAhead = "say it of what was not seen yet: it waits until it is there"

// editObject changes what is said of an object, or of one of its columns; when
// nothing is left to say, the entry goes.
func (i *invocation) editObject(ctx context.Context, c *service.Client, name, column string, ahead bool, edit func(*service.ObjectSettings)) error {
	o := service.ObjectSettings{Name: name}
	at := path("connection_objects", name)
	var refused *service.Error
	err := c.Call(ctx, http.MethodGet, at, nil, &o)
	missing := errors.As(err, &refused) && refused.Status == http.StatusNotFound
	if err != nil && !missing {
		return err
	}
	if !ahead && (missing || column != "" && !slices.ContainsFunc(o.Columns, func(col service.ColumnTags) bool { return col.Name == column })) {
		if err := seenAlready(ctx, c, name, column); err != nil {
			return err
		}
	}
	// What it got under another name cannot be taken off before it was stated under this one.
	if o.Was != "" || slices.ContainsFunc(o.Columns, func(col service.ColumnTags) bool { return col.Was != "" }) {
		if err := c.Call(ctx, http.MethodPut, at, o, nil); err != nil {
			return err
		}
	}
	edit(&o)
	o.Columns = slices.DeleteFunc(o.Columns, func(col service.ColumnTags) bool { return len(col.Tags) == 0 })
	if len(o.Tags)+len(o.Owners)+len(o.Columns) == 0 && (o.State == "" || o.State == "inherit") {
		if missing {
			return nil
		}
		return c.Call(ctx, http.MethodDelete, at, nil, nil)
	}
	var reply service.SettledObject
	if err := c.Call(ctx, http.MethodPut, at, o, &reply); err != nil {
		return err
	}
	if reply.Waiting {
		fmt.Fprintf(i.io.err, "%s was not seen yet: this waits for it\n", name)
	}
	if len(reply.UnknownColumns) > 0 {
		fmt.Fprintf(i.io.err, "%s has no column %s: tags wait for it\n", name, strings.Join(reply.UnknownColumns, ", "))
	}
	return nil
}

// seenAlready fails where there is no such object or column: most likely it was misspelled.
func seenAlready(ctx context.Context, c *service.Client, name, column string) error {
	connection, _, _ := strings.Cut(name, ".")
	hint := "See portcullis connection show " + connection + "; --ahead says it of what is to come."
	var o service.Object
	var refused *service.Error
	err := c.Call(ctx, http.MethodGet, path("connections", connection, "objects", name), nil, &o)
	switch {
	case errors.As(err, &refused) && refused.Status == http.StatusNotFound:
		return &service.Error{Code: "not_found", Field: "object", Message: "nothing named " + name + " was seen", Hint: hint}
	case err != nil:
		return err
	case o.Dropped != nil:
		return &service.Error{Code: "not_found", Field: "object", Message: name + " is no longer there", Hint: hint}
	case column != "" && !slices.ContainsFunc(o.Columns, func(col service.ObjectColumn) bool { return col.Name == column }):
		return &service.Error{Code: "not_found", Field: "column", Message: name + " has no column " + column, Hint: hint}
	}
	return nil
}

func connectionMap(ctx context.Context, i *invocation) error {
	a := service.MappedAccount{State: mapping.Manual}
	i.flags.StringVar(&a.UserID, "user", "", "`userid` of the person")
	i.flags.StringVar(&a.IAMID, "iamid", service.DefaultIAM, "identity manager of the person")
	i.flags.StringVar(&a.Account, "account", "", "the role there; for an IAM user or role its name or ARN")
	i.flags.StringVar(&a.Role, "role", "", "the role there, where --account is an ARN and the names differ")
	i.flags.StringVar((*string)(&a.Kind), "kind", "", "role (default), iam_user, iam_role or identity_center")
	none := i.flags.Bool("none", false, "the person has no account there, whatever the connection's mapping says")
	c, err := i.call(1, 1)
	if err != nil {
		return err
	}
	defer c.Close()
	switch {
	case a.UserID == "":
		return usage(i.flags, i.io, "--user is needed")
	case *none == (a.Account != ""):
		return usage(i.flags, i.io, "give either --account or --none")
	case *none:
		a.State = mapping.None
	}
	a.Connection = i.args[0]
	var reply service.MappedPerson
	if err := c.Call(ctx, http.MethodPut, mappedPath(a), a, &reply); err != nil {
		return err
	}
	for _, p := range reply.Problems {
		about := "warning"
		if !p.Warning {
			about = "no access"
		}
		fmt.Fprintf(i.io.err, "%s: %s/%s: %s%s\n", about, p.Person.IAMID, p.Person.UserID, p.Message, fixed(p.Statement))
	}
	return nil
}

func connectionUnmap(ctx context.Context, i *invocation) error {
	var a service.MappedAccount
	i.flags.StringVar(&a.UserID, "user", "", "`userid` of the person")
	i.flags.StringVar(&a.IAMID, "iamid", service.DefaultIAM, "identity manager of the person")
	c, err := i.call(1, 1)
	if err != nil {
		return err
	}
	defer c.Close()
	if a.UserID == "" {
		return usage(i.flags, i.io, "--user is needed")
	}
	a.Connection = i.args[0]
	return c.Call(ctx, http.MethodDelete, mappedPath(a), nil, nil)
}

func mappedPath(a service.MappedAccount) string {
	return path("connection_accounts", a.Connection, a.UserID) + "?" + url.Values{"iamid": {a.IAMID}}.Encode()
}
