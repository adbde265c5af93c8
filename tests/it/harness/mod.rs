//! What the scenarios stand on: databases, archives, the judge, and the program itself.

pub(crate) mod archive;
pub(crate) mod cluster;
pub(crate) mod compare;
pub(crate) mod credentials;
pub(crate) mod daemon;
pub(crate) mod db;
pub(crate) mod edit;
pub(crate) mod generate;
pub(crate) mod hostile;
pub(crate) mod http;
pub(crate) mod mutate;
pub(crate) mod names;
pub(crate) mod oracle;
pub(crate) mod product;
pub(crate) mod random;
pub(crate) mod shape;
pub(crate) mod site;
pub(crate) mod store;
pub(crate) mod stream;
pub(crate) mod tls;
pub(crate) mod wait;
pub(crate) mod writers;

/// Tests that run on each server at the same time: functions that take the dialect of source and target.
macro_rules! on_both_servers {
    ($($name:ident),+ $(,)?) => {
        mod on_postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::harness::shape::Dialect::Postgres).await;
            })+
        }
        mod on_mariadb {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::harness::shape::Dialect::Mariadb).await;
            })+
        }
    };
}
pub(crate) use on_both_servers;
