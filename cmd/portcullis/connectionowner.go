package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"portcullis.dev/portcullis/service"
)

// connectionOwner says who answers for an object, or names or removes an owner.
func connectionOwner(ctx context.Context, i *invocation) error {
	var o service.Owner
	i.flags.StringVar(&o.UserID, "user", "", "`userid` of the owner")
	i.flags.StringVar(&o.IAMID, "iamid", "", "identity manager of the owner (default "+service.DefaultIAM+")")
	i.flags.StringVar(&o.Group, "group", "", "the `group` that owns it")
	remove := i.flags.Bool("remove", false, "remove the owner")
	ahead := i.flags.Bool("ahead", false, aboutAhead)
	c, err := i.call(1, 1)
	if err != nil {
		return err
	}
	defer c.Close()
	name := i.args[0]
	switch {
	case o.UserID == "" && o.Group == "":
		return i.showOwners(ctx, c)
	case o.UserID != "" && o.Group != "":
		return usage(i.flags, i.io, "give either --user or --group")
	case o.UserID != "" && o.IAMID == "":
		o.IAMID = service.DefaultIAM
	}
	edit := func(have []service.Owner) []service.Owner {
		have = slices.DeleteFunc(have, func(other service.Owner) bool { return other == o })
		if *remove {
			return have
		}
		return append(have, o)
	}
	if !strings.Contains(name, ".") {
		return editConnection(ctx, c, name, func(v *service.Connection) { v.Owners = edit(v.Owners) })
	}
	return i.editObject(ctx, c, name, "", *ahead, func(s *service.ObjectSettings) { s.Owners = edit(s.Owners) })
}

func (i *invocation) showOwners(ctx context.Context, c *service.Client) error {
	name := i.args[0]
	var own, above []service.Owner
	if host, _, below := strings.Cut(name, "."); below {
		var o service.Object
		if err := c.Call(ctx, http.MethodGet, path("connections", host, "objects", name), nil, &o); err != nil {
			return err
		}
		own, above = o.Owners, o.InheritedOwners
	} else {
		var v service.Connection
		if err := c.Call(ctx, http.MethodGet, path("connections", name), nil, &v); err != nil {
			return err
		}
		own = v.Owners
	}
	if i.remote.json() {
		return printJSON(i.io, map[string][]service.Owner{"owners": own, "inherited_owners": above})
	}
	for _, o := range own {
		fmt.Fprintln(i.io.out, ownerText(o))
	}
	for _, o := range above {
		fmt.Fprintf(i.io.out, "%s\tof a level above\n", ownerText(o))
	}
	return nil
}

func ownerText(o service.Owner) string {
	if o.Group != "" {
		return "group " + o.Group
	}
	return o.IAMID + "/" + o.UserID
}

func ownersText(list []service.Owner) string {
	text := make([]string, 0, len(list))
	for _, o := range list {
		text = append(text, ownerText(o))
	}
	return strings.Join(text, ", ")
}
