"""The code location loads with all of its jobs."""

from testing.dagster_project import Project


def test_no_two_jobs_or_ops_have_the_same_name(project: Project):
    names = {job.name for job in project.repository.get_all_jobs()}
    assert names >= {"ingest_inbox", "ingest_products", "publish_tables", "status"}
