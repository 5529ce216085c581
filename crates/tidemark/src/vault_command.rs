//! `tidemark vault verify`: reads everything back and names what is damaged.

use std::process::ExitCode;

use tidemark_vault::{Vault, VaultKey};

use crate::config::Config;

/// Verifies the vault; the exit code tells whether all is well.
pub(crate) fn verify(config: &Config) -> crate::Outcome {
    let folder = config.vault_folder();
    if !folder.exists() {
        return Err(format!(
            "there is no vault in {}; check --data-dir or --vault-folder",
            folder.display()
        )
        .into());
    }
    let vault = Vault::open_to_read(&folder, VaultKey::load(&config.vault_key_file())?)?;
    let report = vault.verify()?;
    println!(
        "read {} snapshots, {} chunks, {} oplog segments in {}",
        report.snapshots,
        report.chunks,
        report.segments,
        folder.display()
    );
    for damage in &report.damages {
        println!("damaged: {}: {}", damage.object, damage.reason);
    }
    if report.damages.is_empty() {
        println!("everything is whole");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}
