package connection

import "testing"

func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		`a.b.c`: `a.b.c`, `a."b".c`: `a.b.c`, `"a"."b.x"."c""d"`: `a."b.x"."c""d"`, `again.shop.public."x/y%z?"`: `again.shop.public.x/y%z?`,
		`a."b`: `a."b`, `a."b"c`: `a."b"c`, `a.b"c`: `a.b"c`, `a.""`: `a.""`, `"a".`: `"a".`,
	} {
		if got := Canonical(name); got != want {
			t.Errorf("%s is read as %s, not %s", name, got, want)
		}
	}
	if got := (ObjectRef{Database: "shop", Schema: "public", Name: "a.b"}).Place(); got != `shop.public."a.b"` {
		t.Error(got)
	}
}
