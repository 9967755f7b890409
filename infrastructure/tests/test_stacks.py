"""Two universes, deployed to an emulator of AWS as the workflow does; the lifecycle on a real S3 server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from typing import Any

import pytest
from cfnlint.decode import cfn_yaml
from conftest import KEYS, PATIENCE, PROGRAMS, ROOT, client, wait_for

FOLDER = ROOT / "infrastructure"
UNIVERSES = ("production", "staging")
ACCOUNT = "000000000000"  # the emulator's
PROVIDER = f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com"


def deploy(aws: str, template: str, stack: str, *parameters: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **KEYS, "AWS_ENDPOINT_URL": aws, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"}
    environment.pop("GITHUB_STEP_SUMMARY", None)
    command = [ROOT / ".github/scripts/deploy-stack", FOLDER / template, stack, *parameters]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def bucket_of(universe: str) -> str:
    return f"speedtest-archive-{universe}-{ACCOUNT}"


@pytest.fixture(scope="module")
def deployed(aws: str) -> str:
    for universe in UNIVERSES:
        done = deploy(aws, "archive-bucket.yml", f"speedtest-archive-{universe}", f"Universe={universe}")
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"| {bucket_of(universe)} |" in done.stdout
    return aws


@pytest.fixture(scope="module")
def s3(deployed: str) -> Any:
    return client("s3", deployed)


@pytest.mark.parametrize("universe", UNIVERSES)
def test_each_universe_has_a_bucket_that_is_encrypted_private_and_by_https_alone(s3, universe):
    bucket = {"Bucket": bucket_of(universe)}
    [rule] = s3.get_bucket_encryption(**bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    blocked = s3.get_public_access_block(**bucket)["PublicAccessBlockConfiguration"]
    assert blocked == dict.fromkeys(
        ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True
    )
    [owner] = s3.get_bucket_ownership_controls(**bucket)["OwnershipControls"]["Rules"]
    assert owner["ObjectOwnership"] == "BucketOwnerEnforced"
    assert s3.get_bucket_versioning(**bucket)["Status"] == "Enabled"
    [statement] = json.loads(s3.get_bucket_policy(**bucket)["Policy"])["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Principal"] == "*"
    assert statement["Action"] == "s3:*"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    arn = f"arn:aws:s3:::{bucket['Bucket']}"
    assert statement["Resource"] == [arn, f"{arn}/*"]


def test_what_is_deployed_again_is_left_as_it_is(deployed):
    stacks = client("cloudformation", deployed)

    def seen():
        [stack] = stacks.describe_stacks(StackName="speedtest-archive-production")["Stacks"]
        resources = stacks.describe_stack_resources(StackName=stack["StackName"])["StackResources"]
        return stack["StackId"], stack["Outputs"], [resource["PhysicalResourceId"] for resource in resources]

    before = seen()
    done = deploy(deployed, "archive-bucket.yml", "speedtest-archive-production", "Universe=production")
    assert done.returncode == 0, done.stdout + done.stderr
    assert seen() == before


@pytest.mark.parametrize("universe", ["Bad_One", "../x", "a", "production*", "staging-2", "a" * 21])
def test_a_name_that_is_no_universe_is_refused(deployed, universe):
    done = deploy(deployed, "archive-bucket.yml", "speedtest-archive-bad", f"Universe={universe}")
    assert done.returncode != 0
    assert "Universe" in done.stderr
    buckets = {bucket["Name"] for bucket in client("s3", deployed).list_buckets()["Buckets"]}
    assert bucket_of(universe) not in buckets
    assert buckets >= {bucket_of(name) for name in UNIVERSES}


@pytest.mark.parametrize(
    "parameter", ["RepositoryOwner=*", "RepositoryName=a/b", "RepositoryName=*", "ProviderArn=arn:aws:iam::1:x"]
)
def test_a_repository_that_could_mean_others_is_refused(deployed, parameter):
    given = {"Universe": "production", "RepositoryOwner": "me", "RepositoryName": "lines", "ProviderArn": PROVIDER}
    name, value = parameter.split("=")
    given[name] = value
    done = deploy(deployed, "deployment-role.yml", "speedtest-deployment-bad", *(f"{n}={v}" for n, v in given.items()))
    assert done.returncode != 0
    assert name in done.stderr


@pytest.mark.parametrize("universe", UNIVERSES)
def test_a_role_trusts_one_environment_of_one_repository(deployed, universe):
    given = (f"Universe={universe}", "RepositoryOwner=me", "RepositoryName=lines", f"ProviderArn={PROVIDER}")
    done = deploy(deployed, "deployment-role.yml", f"speedtest-deployment-{universe}", *given)
    assert done.returncode == 0, done.stdout + done.stderr
    iam = client("iam", deployed)
    [trust] = iam.get_role(RoleName=f"speedtest-deployment-{universe}")["Role"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Federated": PROVIDER}
    assert trust["Condition"] == {
        "StringEquals": {
            "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
            "token.actions.githubusercontent.com:sub": f"repo:me/lines:environment:{universe}",
        }
    }
    policy = iam.get_role_policy(RoleName=f"speedtest-deployment-{universe}", PolicyName="archive-bucket")
    resources = {str(statement["Resource"]) for statement in policy["PolicyDocument"]["Statement"]}
    assert resources == {
        "*",
        f"arn:aws:cloudformation:eu-central-1:{ACCOUNT}:stack/speedtest-archive-{universe}/*",
        f"arn:aws:s3:::{bucket_of(universe)}",
    }


def test_a_publisher_has_the_records_of_one_universe(deployed):
    done = deploy(deployed, "archive-publisher.yml", "speedtest-publisher-staging", "Universe=staging")
    assert done.returncode == 0, done.stdout + done.stderr
    policy = client("iam", deployed).get_user_policy(UserName="speedtest-publisher-staging", PolicyName="records")
    resources = [statement["Resource"] for statement in policy["PolicyDocument"]["Statement"]]
    assert resources == [f"arn:aws:s3:::{bucket_of('staging')}", f"arn:aws:s3:::{bucket_of('staging')}/records/*"]


def test_a_publisher_that_keeps_a_tree_has_its_folders_too(deployed):
    """From its first deployment: the emulator left a stack as it was where a parameter alone was another one."""
    iam, name = client("iam", deployed), "speedtest-publisher-trees"
    done = deploy(deployed, "archive-publisher.yml", name, "Universe=trees", "Tree=true")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(iam.list_user_policies(UserName=name)["PolicyNames"]) == ["records", "tree"]
    assert iam.list_user_policies(UserName="speedtest-publisher-staging")["PolicyNames"] == ["records"]
    policy = iam.get_user_policy(UserName=name, PolicyName="tree")
    resources = [statement["Resource"] for statement in policy["PolicyDocument"]["Statement"]]
    arn = f"arn:aws:s3:::{bucket_of('trees')}"
    assert resources == [arn, f"{arn}/uploads/*", f"{arn}/results/*"]


def test_a_bucket_and_what_is_in_it_outlive_the_stack(deployed):
    """The last test of the emulator: the stack is gone afterwards."""
    s3, stacks = client("s3", deployed), client("cloudformation", deployed)
    kept = {"Bucket": bucket_of("staging"), "Key": "records/part.parquet"}
    s3.put_object(**kept, Body=b"measured")
    stacks.delete_stack(StackName="speedtest-archive-staging")
    wait_until_gone(stacks, "speedtest-archive-staging")
    assert s3.get_object(**kept)["Body"].read() == b"measured"
    assert "HttpsOnly" in s3.get_bucket_policy(Bucket=kept["Bucket"])["Policy"]


def wait_until_gone(stacks: Any, name: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while any(row["StackName"] == name for row in stacks.describe_stacks()["Stacks"]):
        assert time.monotonic() < deadline, f"{name} is still there"
        time.sleep(0.2)


def lifecycle() -> list[dict[str, Any]]:
    """The template's rules as the API of S3 takes them."""
    template = cfn_yaml.load(str(FOLDER / "archive-bucket.yml"))
    given = template["Resources"]["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    return [_rule(dict(rule)) for rule in given]


def _rule(given: dict[str, Any]) -> dict[str, Any]:
    rule = {"ID": given.pop("Id"), "Filter": {"Prefix": str(given.pop("Prefix", ""))}}
    if "ExpirationInDays" in given:
        rule["Expiration"] = {"Days": given.pop("ExpirationInDays")}
    return rule | given


def test_a_real_store_takes_the_lifecycle_and_has_results_alone_expire(store):
    bucket = {"Bucket": "archive"}
    wait_for(lambda: store.create_bucket(**bucket), FOLDER / "archive-bucket.yml")
    store.put_bucket_lifecycle_configuration(**bucket, LifecycleConfiguration={"Rules": lifecycle()})
    rules = store.get_bucket_lifecycle_configuration(**bucket)["Rules"]
    assert [rule["Status"] for rule in rules] == ["Enabled"] * 2
    [expiring] = [rule for rule in rules if "Expiration" in rule]
    assert expiring["Expiration"]["Days"] == 90
    assert (expiring.get("Filter") or expiring)["Prefix"] == "results/"
    [unfinished] = [rule for rule in rules if "AbortIncompleteMultipartUpload" in rule]
    assert unfinished["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 7


def test_a_real_store_takes_the_rule_that_the_how_to_types(store):
    page = (ROOT / "docs/how-to/publish-to-an-object-store.md").read_text(encoding="utf-8")
    [typed] = re.findall(r"^ +'(\{\"Rules\".*)'$", page, re.MULTILINE)
    bucket = {"Bucket": "measurements"}
    wait_for(lambda: store.create_bucket(**bucket), FOLDER / "archive-bucket.yml")
    store.put_bucket_lifecycle_configuration(**bucket, LifecycleConfiguration=json.loads(typed))
    [rule] = store.get_bucket_lifecycle_configuration(**bucket)["Rules"]
    assert (rule["Status"], rule["Expiration"]["Days"]) == ("Enabled", 90)
    assert (rule.get("Filter") or rule)["Prefix"] == "results/"
