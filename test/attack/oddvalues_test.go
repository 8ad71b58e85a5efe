package attack

import (
	"testing"

	"portcullis.dev/portcullis/test/world"
)

// TestOddValues: SQLite lets a column hold what is none of its type. Under a
// mask such a value is NULL, in a row filter it hides the row; an error would
// tell of it.
func TestOddValues(t *testing.T) {
	l := &lab{World: world.Start(t, world.Options{}), t: t}
	lite := l.Sources[2]
	odd := fill(lite.Table, states[0], lite.Backslashes) + `
		UPDATE staff SET phone = x'00ff', name = 'Ann' || char(0) || 'x', born = x'41' WHERE id = 1;
		UPDATE staff SET phone = x'00ff', name = x'00ff', born = 'never' WHERE id = 4;
		UPDATE staff SET dept = x'73616c6573' WHERE id = 2;
		UPDATE staff SET dept = 'sales' || char(0) || 'x' WHERE id = 5;`
	if err := lite.Exec(t.Context(), odd); err != nil {
		t.Fatal(err)
	}
	for column, want := range map[string]string{
		"name": "1|NULL\n3|t\nSELECT 2", "phone": "1|NULL\n3|t\nSELECT 2", "born": "1|NULL\n3|t\nSELECT 2",
		"dept": "1|t\n3|t\nSELECT 2", "id": "1|t\n3|t\nSELECT 2",
	} {
		t.Run(column, func(t *testing.T) {
			if got := l.typed(world.Eve, "SELECT id, "+column+" IS NOT NULL OR NULL FROM immuta.staff_lite ORDER BY id"); got != want {
				t.Errorf("eve sees\n%s\nwant\n%s", got, want)
			}
			if column == "id" {
				return
			}
			control, err := world.Type(t.Context(), l.As(world.Exempt), "SELECT id, "+column+" FROM immuta.staff_lite ORDER BY id")
			if err != nil {
				t.Fatal(err)
			}
			if control.Err == nil {
				t.Errorf("the control reads all values:\n%s", control)
			}
		})
	}
}
