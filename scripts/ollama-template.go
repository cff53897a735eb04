// What Ollama makes of a Modelfile, for tests: go run scripts/ollama-template.go reads {"modelfile": TEXT, "conversations": [[{"role", "content"}]]}
// from standard input and prints the prompts as a JSON list. As Ollama does it: characters of the Modelfile that do not print are dropped,
// the template gets all system messages joined as .System and all messages, neighbours of one role joined, as .Messages.
package main

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"text/template"
)

type message struct{ Role, Content string }

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	var given struct {
		Modelfile     string
		Conversations [][]message
	}
	must(json.NewDecoder(os.Stdin).Decode(&given))
	kept := strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) || strings.ContainsRune(" \t\n", r) {
			return r
		}
		return -1
	}, given.Modelfile)
	_, rest, _ := strings.Cut(kept, "TEMPLATE \"\"\"")
	text, _, _ := strings.Cut(rest, "\"\"\"")
	parsed, err := template.New("").Option("missingkey=zero").Parse(text)
	must(err)
	prompts := []string{}
	for _, conversation := range given.Conversations {
		var system []string
		var messages []message
		for _, one := range conversation {
			if one.Role == "system" {
				system = append(system, one.Content)
			}
			if last := len(messages) - 1; last >= 0 && messages[last].Role == one.Role {
				messages[last].Content += "\n\n" + one.Content
			} else {
				messages = append(messages, one)
			}
		}
		var prompt strings.Builder
		must(parsed.Execute(&prompt, map[string]any{
			"System":   strings.Join(system, "\n\n"),
			"Messages": messages,
			"Response": "",
		}))
		prompts = append(prompts, prompt.String())
	}
	must(json.NewEncoder(os.Stdout).Encode(prompts))
}
