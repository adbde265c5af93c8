//! (Under construction.)

/// Sets up the log.
pub fn init(config: &crate::config::LogConfig) {
    let _ = config;
}
