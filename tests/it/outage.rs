//! Databases that are down at start, go away, and come back.

use serde_json::Value;

use crate::harness::cluster::{self, Cluster};
use crate::harness::daemon::{CAP, Daemon};
use crate::harness::generate;
use crate::harness::mutate::Change;
use crate::harness::product::Product;
use crate::harness::random;
use crate::harness::shape::{Dialect, Shape};
use crate::harness::site::Site;
use crate::harness::wait::{check, eventually};

/// A cluster of this test's own, for faults; it ends with the process.
fn own_cluster(product: Product) -> &'static Cluster {
    Box::leak(Box::new(Cluster::of(product)))
}

async fn ready(daemon: &Daemon, wanted: u16) -> String {
    eventually(&format!("/health/ready answers {wanted}"), CAP, async || {
        let reply = daemon.get("/health/ready").await;
        check(reply.code == wanted, format!("{reply:?}\n{}", daemon.log()))?;
        Ok(reply.body)
    })
    .await
}

fn side(status: &Value, source: bool) -> &Value {
    if source { &status["sources"][0] } else { &status["target"] }
}

#[tokio::test]
async fn a_target_that_is_down_at_start_and_later_again_is_waited_for() {
    for (product, dialect) in [(Product::Postgres, Dialect::Postgres), (Product::Mariadb, Dialect::Mariadb)] {
        let own = own_cluster(product);
        let shape = Shape::release("5.35.0");
        let mut site = Site::on(cluster::shared(), own, Dialect::Postgres, dialect, shape, random::seed(131)).await;
        site.settings.interval = "1s";
        generate::fill(&mut site.archive, 40).await;
        own.kill();
        comes_and_goes(&mut site, own, false).await;
    }
}

#[tokio::test]
async fn a_source_that_is_down_at_start_and_later_again_is_waited_for() {
    for (product, dialect) in [(Product::Postgres, Dialect::Postgres), (Product::Mariadb, Dialect::Mariadb)] {
        let own = own_cluster(product);
        let shape = Shape::release("5.34.3");
        let mut site = Site::on(own, own, dialect, Dialect::Sqlite, shape, random::seed(132)).await;
        site.settings.interval = "1s";
        generate::fill(&mut site.archive, 40).await;
        own.kill();
        comes_and_goes(&mut site, own, true).await;
    }
}

async fn comes_and_goes(site: &mut Site, cluster: &Cluster, source: bool) {
    let name = if source { "source" } else { "target" };
    let daemon = site.daemon().await;
    for round in 0..2 {
        let body = ready(&daemon, 503).await;
        assert!(body.contains(name), "which side is it? {body}");
        assert_eq!(daemon.get("/health/live").await.code, 200);
        let down = |status: &Value| side(status, source)["reachable"] == false;
        let status = daemon.status_with(&format!("{name} down"), down).await;
        assert!(side(&status, source)["error"].is_string(), "{status}");
        assert_ne!(side(&status, !source)["reachable"], false, "the other side is up: {status}");
        cluster.start();
        if source {
            let database = site.source_url.rsplit('/').next().unwrap();
            site.archive.db = cluster.admin(database).await;
        }
        ready(&daemon, 200).await;
        Change::NewStudy.apply(&mut site.archive).await;
        daemon.run("{}").await;
        site.assert_in_step(&format!("{name} is back, round {round}")).await;
        if round == 0 {
            cluster.kill();
        }
    }
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    daemon.stop().await;
}
