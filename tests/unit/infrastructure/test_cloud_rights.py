"""Who may do what in the cloud: each set of actions is written out here, and the templates allow nothing else."""

from __future__ import annotations

import pytest
import yaml
from builders import ROOT


class Template(yaml.SafeLoader):
    """CloudFormation's short forms as what they are given."""


def _short_form(loader, _tag, node):
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node)
    return loader.construct_scalar(node)


Template.add_multi_constructor("!", _short_form)
BUCKET = "arn:${AWS::Partition}:s3:::speedtest-archive-${Universe}-${AWS::AccountId}"
STACK = "arn:${AWS::Partition}:cloudformation:${AWS::Region}:${AWS::AccountId}:stack/speedtest-archive-${Universe}/*"
REPOSITORY = "repo:${RepositoryOwner}/${RepositoryName}"
DEPLOYMENT = {
    "*": {"cloudformation:GetTemplateSummary", "cloudformation:ValidateTemplate"},
    STACK: {
        "cloudformation:CreateChangeSet",
        "cloudformation:DescribeChangeSet",
        "cloudformation:DescribeStackEvents",
        "cloudformation:DescribeStacks",
        "cloudformation:ExecuteChangeSet",
    },
    BUCKET: {
        "s3:CreateBucket",
        "s3:GetBucketOwnershipControls",
        "s3:GetBucketPolicy",
        "s3:GetBucketPublicAccessBlock",
        "s3:GetBucketTagging",
        "s3:GetBucketVersioning",
        "s3:GetEncryptionConfiguration",
        "s3:GetLifecycleConfiguration",
        "s3:ListBucket",
        "s3:PutBucketOwnershipControls",
        "s3:PutBucketPolicy",
        "s3:PutBucketPublicAccessBlock",
        "s3:PutBucketTagging",
        "s3:PutBucketVersioning",
        "s3:PutEncryptionConfiguration",
        "s3:PutLifecycleConfiguration",
    },
}
PUBLISHER = {
    BUCKET: {"s3:ListBucket"},
    f"{BUCKET}/records/*": {"s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"},
}
TREE = {
    BUCKET: {"s3:ListBucket"},
    f"{BUCKET}/uploads/*": {"s3:GetObject", "s3:PutObject"},
    f"{BUCKET}/results/*": {"s3:PutObject"},
}


def resources(template):
    text = (ROOT / "infrastructure" / template).read_text(encoding="utf-8")
    return yaml.load(text, Template)["Resources"]  # noqa: S506 - a SafeLoader


def allowed(template, resource):
    """Actions for each resource of a template's policies."""
    found: dict[str, set[str]] = {}
    properties = resources(template)[resource]["Properties"]
    for policy in properties.get("Policies", [properties]):
        for statement in policy["PolicyDocument"]["Statement"]:
            assert statement["Effect"] == "Allow"
            assert "NotAction" not in statement
            actions = statement["Action"]
            found.setdefault(statement["Resource"], set()).update([actions] if isinstance(actions, str) else actions)
    return found


@pytest.mark.parametrize(
    ("template", "resource", "rights"),
    [
        ("deployment-role.yml", "Role", DEPLOYMENT),
        ("archive-publisher.yml", "Publisher", PUBLISHER),
        ("archive-publisher.yml", "KeepsTree", TREE),
    ],
)
def test_an_account_may_do_this_and_nothing_else(template, resource, rights):
    assert allowed(template, resource) == rights


def test_only_who_asks_for_a_tree_may_write_one():
    text = (ROOT / "infrastructure/archive-publisher.yml").read_text(encoding="utf-8")
    template = yaml.load(text, Template)  # noqa: S506 - a SafeLoader
    assert template["Resources"]["KeepsTree"]["Condition"] == "HasTree"
    assert template["Parameters"]["Tree"]["Default"] == "false"


def test_no_workflow_can_give_itself_more_rights_or_destroy_the_archive():
    actions = set().union(*DEPLOYMENT.values())
    assert [action for action in actions if action.startswith("iam:") or "*" in action or "Delete" in action] == []
    assert [action for action in actions if action.endswith("Object")] == []


def test_a_role_is_for_one_environment_of_one_repository():
    [trust] = resources("deployment-role.yml")["Role"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert trust["Condition"] == {
        "StringEquals": {
            "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
            "token.actions.githubusercontent.com:sub": REPOSITORY + ":environment:${Universe}",
        }
    }


def test_what_is_published_never_expires():
    """Only what lies below results/ does; records are in records/ and uploads/."""
    bucket = resources("archive-bucket.yml")["Bucket"]
    assert bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == "Retain"
    rules = bucket["Properties"]["LifecycleConfiguration"]["Rules"]
    expiring = [rule for rule in rules if any("Expiration" in key for key in rule)]
    assert [(rule["Prefix"], rule["ExpirationInDays"]) for rule in expiring] == [("results/", 90)]
