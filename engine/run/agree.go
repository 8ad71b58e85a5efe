package run

import (
	"fmt"
	"strings"

	"portcullis.dev/portcullis/fdw"
	"portcullis.dev/portcullis/policy"
)

// matches refuses a foreign table that names anything but the data source
// that the decision was made for: its options decide what is read remotely.
// The schema, whose default depends on the dialect, is compared by fdw.Compose.
func matches(d *policy.Decision, source *Source, t *fdw.Table) error {
	differs := ""
	switch {
	case d.Source != source.ServerName:
		differs = "server"
	case d.RemoteTable != t.RemoteName:
		differs = "table_name"
	case !strings.EqualFold(d.DataSource, t.DataSource):
		differs = "data_source"
	default:
		return nil
	}
	return &Error{
		State:   stateDenied,
		Message: fmt.Sprintf("permission denied for foreign table \"%s\"", t.LocalName),
		Detail:  fmt.Sprintf("Its %s is not that of the data source.", differs),
		Hint:    "An administrator creates the table anew from the data source, or has the policy service read the source again.",
	}
}
