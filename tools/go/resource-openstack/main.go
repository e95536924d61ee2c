// The OpenStack resource plugin of Pulumi, made of the parts that its release is made of: the Terraform bridge and the
// OpenStack Terraform provider. It answers to every type token of the npm package @pulumi/openstack of the same version.
package main

import (
	_ "embed"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	shimv2 "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v2"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/terraform-provider-openstack/terraform-provider-openstack/openstack"
)

const version = "3.15.2"

// One token a line, as the npm package spells them (its __pulumiType and its invokes). A unit test keeps it complete.
//
//go:embed tokens.txt
var sdkTokens string

// Tokens whose name doesn't follow from the Terraform name by the rule in candidates.
var irregular = map[string]string{
	"openstack_blockstorage_quotaset_v2":                    "openstack:blockstorage/quoteSetV2:QuoteSetV2",
	"openstack_blockstorage_quotaset_v3":                    "openstack:blockstorage/quoteSetV3:QuoteSetV3",
	"openstack_objectstorage_object_v1":                     "openstack:objectstorage/containerObject:ContainerObject",
	"data openstack_dns_zone_v2":                            "openstack:dns/getDnsZone:getDnsZone",
	"data openstack_fw_policy_v1":                           "openstack:firewall/getPolicy:getPolicy",
	"data openstack_fw_policy_v2":                           "openstack:index/getFwPolicyV2:getFwPolicyV2",
	"data openstack_fw_group_v2":                            "openstack:index/getFwGroupV2:getFwGroupV2",
	"data openstack_fw_rule_v2":                             "openstack:index/getFwRuleV2:getFwRuleV2",
	"data openstack_sharedfilesystem_availability_zones_v2": "openstack:sharedfilesystem/getAvailbilityZones:getAvailbilityZones",
}

var modules = map[string]string{"db": "database", "fw": "firewall", "lb": "loadbalancer"}

var terraformName = regexp.MustCompile(`^openstack_([a-z0-9]+?)_([a-z0-9_]+)_(v\d)$`)

// candidates gives, lower-cased, the tokens that a Terraform name may have: with its API version, or else without it.
func candidates(name, verb string) []string {
	part := terraformName.FindStringSubmatch(name)
	if part == nil {
		return nil
	}
	module, member, api := part[1], verb+strings.ReplaceAll(part[2], "_", ""), part[3]
	if full, ok := modules[module]; ok {
		module = full
	}
	token := func(m string) string { return fmt.Sprintf("openstack:%s/%s:%s", module, m, m) }
	return []string{token(member + api), token(member)}
}

func main() {
	byLowerCase := map[string]string{}
	unused := map[string]bool{}
	for _, token := range strings.Fields(sdkTokens) {
		byLowerCase[strings.ToLower(token)] = token
		unused[token] = true
	}
	find := func(name, verb, irregularKey string) string {
		token := irregular[irregularKey]
		for _, c := range candidates(name, verb) {
			if token == "" {
				token = byLowerCase[c]
			}
		}
		delete(unused, token)
		return token
	}

	upstream := openstack.Provider()
	info := tfbridge.ProviderInfo{
		P:           shimv2.NewProvider(upstream),
		Name:        "openstack",
		Version:     version,
		Resources:   map[string]*tfbridge.ResourceInfo{},
		DataSources: map[string]*tfbridge.DataSourceInfo{},
	}
	for name := range upstream.ResourcesMap {
		if token := find(name, "", name); token != "" {
			info.Resources[name] = &tfbridge.ResourceInfo{Tok: tokens.Type(token)}
		} else {
			info.IgnoreMappings = append(info.IgnoreMappings, name)
		}
	}
	for name := range upstream.DataSourcesMap {
		if token := find(name, "get", "data "+name); token != "" {
			info.DataSources[name] = &tfbridge.DataSourceInfo{Tok: tokens.ModuleMember(token)}
		} else {
			info.IgnoreMappings = append(info.IgnoreMappings, name)
		}
	}
	// What the SDK names or types otherwise than the bridge would by itself.
	notFlattened := false
	for name, fields := range map[string]map[string]*tfbridge.SchemaInfo{
		"openstack_networking_subnet_v2": {
			"allocation_pool":  {Name: "allocationPools"},
			"allocation_pools": {Name: "allocationPoolsCollection"},
		},
		"openstack_compute_servergroup_v2": {"policies": {MaxItemsOne: &notFlattened}},
		"openstack_orchestration_stack_v1": {"outputs": {Name: "StackOutputs"}},
	} {
		info.Resources[name].Fields = fields
	}
	info.SetAutonaming(255, "-")

	if len(unused) > 0 {
		fmt.Fprintln(os.Stderr, "no Terraform resource was found for these types of the SDK:", unused)
		os.Exit(1)
	}
	schema := fmt.Sprintf(`{"name":"openstack","version":"%s"}`, version)
	tfbridge.Main("openstack", version, info, []byte(schema))
}
