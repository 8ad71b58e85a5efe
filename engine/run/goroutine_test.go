package run

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// A panic in a goroutine ends the backend and restarts the instance. So every
// go statement of what backends load starts a function that recovers first.
func TestEveryGoroutineRecovers(t *testing.T) {
	for _, folder := range []string{"engine", "fdw", "odbc", "cache", "policy"} {
		root := filepath.Join("..", "..", folder)
		bodies := map[string]*ast.BlockStmt{} // folder and name of functions and methods
		type started struct {
			at  string
			key string
			fn  *ast.BlockStmt
		}
		var goroutines []started
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncDecl:
					bodies[filepath.Dir(path)+" "+n.Name.Name] = n.Body
				case *ast.GoStmt:
					s := started{at: set.Position(n.Pos()).String()}
					switch f := n.Call.Fun.(type) {
					case *ast.FuncLit:
						s.fn = f.Body
					case *ast.Ident:
						s.key = filepath.Dir(path) + " " + f.Name
					case *ast.SelectorExpr:
						s.key = filepath.Dir(path) + " " + f.Sel.Name
					}
					goroutines = append(goroutines, s)
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range goroutines {
			if g.fn == nil {
				g.fn = bodies[g.key]
			}
			if !guarded(g.fn) {
				t.Errorf("%s: this goroutine does not recover panics", g.at)
			}
		}
	}
}

// guarded tells whether a body defers a function that recovers, or does
// nothing but call the engine's guard.
func guarded(body *ast.BlockStmt) bool {
	if body == nil {
		return false
	}
	for _, statement := range body.List {
		switch s := statement.(type) {
		case *ast.DeferStmt:
			if mentions(s.Call, "recover") {
				return true
			}
		case *ast.ExprStmt:
			return mentions(s.X, "guard")
		default:
			return false
		}
	}
	return false
}

func mentions(n ast.Node, name string) bool {
	found := false
	ast.Inspect(n, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && id.Name == name {
			found = true
		}
		return !found
	})
	return found
}
