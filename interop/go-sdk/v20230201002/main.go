package main

import (
	"go.mongodb.org/atlas-sdk/v20230201002/admin"
	_ "golang.org/x/oauth2/clientcredentials"
)

func main() { admin.NewClient() }
