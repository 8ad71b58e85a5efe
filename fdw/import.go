package fdw

import "context"

// ImportRequest TEMP
type ImportRequest struct{}

// ImportedTable TEMP
type ImportedTable struct{}

func (postgres) Import(context.Context, Querier, ImportRequest) ([]ImportedTable, error) {
	return nil, nil
}
func (mariadb) Import(context.Context, Querier, ImportRequest) ([]ImportedTable, error) {
	return nil, nil
}
func (sqlite) Import(context.Context, Querier, ImportRequest) ([]ImportedTable, error) {
	return nil, nil
}
