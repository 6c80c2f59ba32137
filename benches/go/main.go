// Parses the YAML of an org template with its includes, and does nothing else: what a plan is compared with.
//
// plan-go DIR parse|read answers each number of runs on standard input with the nanoseconds that they took. `read` also
// reads every file of the template.
package main

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"gopkg.in/yaml.v3"
)

func main() {
	if len(os.Args) != 3 || (os.Args[2] != "parse" && os.Args[2] != "read") {
		fail(fmt.Errorf("usage: plan-go DIR parse|read"))
	}
	dir, all := os.Args[1], os.Args[2] == "read"
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		runs, err := strconv.Atoi(lines.Text())
		if err != nil {
			fail(err)
		}
		began := time.Now()
		for i := 0; i < runs; i++ {
			if err := parse(filepath.Join(dir, "org.yaml"), map[string]bool{}); err != nil {
				fail(err)
			}
			if all {
				if err := read(dir); err != nil {
					fail(err)
				}
			}
		}
		fmt.Println(time.Since(began).Nanoseconds())
	}
}

// parse parses a file, and the files that it includes, each once.
func parse(path string, done map[string]bool) error {
	if done[path] {
		return nil
	}
	done[path] = true
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return includes(&document, filepath.Dir(path), done)
}

func includes(node *yaml.Node, dir string, done map[string]bool) error {
	if node.Tag == "!include" {
		return parse(filepath.Join(dir, node.Value), done)
	}
	for _, below := range node.Content {
		if err := includes(below, dir, done); err != nil {
			return err
		}
	}
	return nil
}

func read(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			_, err = os.ReadFile(path)
		}
		return err
	})
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "plan-go:", err)
	os.Exit(1)
}
