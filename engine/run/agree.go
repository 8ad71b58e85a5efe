package run

import (
	"strings"

	"portcullis.dev/portcullis/fdw"
	"portcullis.dev/portcullis/policy"
)

// matches refuses a foreign table that names anything but the data source
// that the decision was made for: its options decide what is read remotely.
// The schema, whose default depends on the dialect, is compared by fdw.Compose.
func matches(d *policy.Decision, source *Source, t *fdw.Table) error {
	switch {
	case d.Source != source.ServerName:
		return AsError(fdw.Disagrees(t, "server"))
	case d.RemoteTable != t.RemoteName:
		return AsError(fdw.Disagrees(t, "table_name"))
	case !strings.EqualFold(d.DataSource, t.DataSource):
		return AsError(fdw.Disagrees(t, "data_source"))
	}
	return nil
}
