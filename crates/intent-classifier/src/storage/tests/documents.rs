use std::convert::Infallible;

use intent_engine::{
    Flag,
    flags::{FlagChange, Rollout},
};
use serde_json::{Value, json};

use super::{Database, on_both_databases, until};
use crate::storage::{Change, ChangeError, Storage, Topic};

const NEW: Change<'_> = Change { topic: Topic::Routing, name: "config", expected_revision: Some(0), actor: "ada" };

async fn write(storage: &Storage, change: Change<'_>, body: Value) -> Result<u64, ChangeError> {
    storage.change_document(change, |_| Ok(Some(body))).await.map(|changed| changed.revision)
}

fn on(percent: f64) -> FlagChange {
    let rollout = Some(Rollout::from_percent(percent).expect("a test uses valid percentages"));
    FlagChange { enabled: Some(true), rollout, updated_at: None }
}

on_both_databases! {
    async fn a_document_is_kept_with_its_revision_and_its_author(database: Database) {
        let storage = database.open().await;
        assert_eq!(storage.documents(Topic::Routing).await.expect("readable").revision, 0);
        write(&storage, NEW, json!({"strategy": "balanced", "text": "Grüße 🦀"})).await.expect("written");

        // Another process, later.
        let found = database.open().await.documents(Topic::Routing).await.expect("readable");
        assert_eq!(found.revision, 1);
        let [document] = &found.documents[..] else { panic!("{found:?}") };
        assert_eq!((document.name.as_str(), document.revision, document.updated_by.as_str()), ("config", 1, "ada"));
        assert_eq!(document.body, json!({"strategy": "balanced", "text": "Grüße 🦀"}));
    }

    async fn a_change_of_something_newer_is_refused_and_leaves_no_trace(database: Database) {
        let storage = database.open().await;
        write(&storage, NEW, json!(1)).await.expect("written");
        let stale = write(&storage, NEW, json!(2)).await.expect_err("somebody was faster");
        assert!(matches!(stale, ChangeError::Stale { current: 1 }), "{stale:?}");
        assert_eq!(storage.documents(Topic::Routing).await.expect("readable").revision, 1);
        assert_eq!(storage.document_history(Topic::Routing, "config", 10).await.expect("readable").len(), 1);
        write(&storage, Change { expected_revision: Some(1), ..NEW }, json!(2)).await.expect("it is at revision 1");
        write(&storage, Change { expected_revision: None, ..NEW }, json!(3)).await.expect("whatever it is at");
    }

    async fn an_edit_that_fails_changes_nothing(database: Database) {
        let storage = database.open().await;
        let refused = storage.change_document(NEW, |_| Err("no")).await;
        assert!(matches!(refused, Err(ChangeError::Invalid("no"))), "{refused:?}");
        assert_eq!(storage.documents(Topic::Routing).await.expect("readable").revision, 0);
    }

    async fn of_concurrent_changes_with_one_revision_one_wins(database: Database) {
        let (one, other) = (database.open().await, database.open().await);
        write(&one, NEW, json!(0)).await.expect("written");
        let change = Change { expected_revision: Some(1), ..NEW };
        let attempts = (0..16).map(|number| write(if number % 2 == 0 { &one } else { &other }, change, json!(number)));
        let outcomes = futures_util::future::join_all(attempts).await;
        let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(won, 1, "{outcomes:?}");
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(2) | Err(ChangeError::Stale { current: 2 }))));
    }

    async fn concurrent_edits_all_count(database: Database) {
        let storages = [database.open().await, database.open().await, database.open().await];
        let change = Change { expected_revision: None, ..NEW };
        let add_one = |before: Option<&Value>| {
            Ok::<_, Infallible>(Some(json!(before.and_then(Value::as_u64).unwrap_or(0) + 1)))
        };
        let edits = (0..30).map(|number| storages[number % 3].change_document(change, add_one));
        for edit in futures_util::future::join_all(edits).await {
            edit.expect("written");
        }
        let found = storages[0].documents(Topic::Routing).await.expect("readable");
        assert_eq!((found.revision, &found.documents[0].body), (30, &json!(30)));
    }

    async fn the_audit_trail_says_who_when_from_and_to(database: Database) {
        let storage = database.open().await;
        let change = Change { expected_revision: None, ..NEW };
        write(&storage, change, json!("a")).await.expect("written");
        write(&storage, Change { actor: "grace", ..change }, json!("b")).await.expect("written");
        storage.change_document(change, |_| Ok::<_, Infallible>(None)).await.expect("deleted");
        let history = storage.document_history(Topic::Routing, "config", 10).await.expect("readable");
        let lines: Vec<_> = history
            .iter()
            .map(|line| (line.change.revision, line.actor.as_str(), line.change.from.clone(), line.change.to.clone()))
            .collect();
        let (a, b) = (Some(json!("a")), Some(json!("b")));
        assert_eq!(
            lines,
            [(3, "ada", b.clone(), None), (2, "grace", a.clone(), b), (1, "ada", None, a)]
        );
        assert!(history.is_sorted_by_key(|line| std::cmp::Reverse(line.change.at)));
        assert_eq!(storage.document_history(Topic::Routing, "config", 2).await.expect("readable"), history[..2]);
        assert!(storage.documents(Topic::Routing).await.expect("readable").documents.is_empty());
    }

    async fn a_flag_keeps_what_a_change_leaves_open(database: Database) {
        let storage = database.open().await;
        assert_eq!(storage.flags().await.expect("readable"), Default::default());
        storage.change_flag(Flag::QualityMode, on(12.5), Some(0), "ada").await.expect("written");
        let off = FlagChange { enabled: Some(false), ..FlagChange::default() };
        storage.change_flag(Flag::QualityMode, off, Some(1), "grace").await.expect("written");

        let stored = storage.flags().await.expect("readable");
        let flag = stored.overrides[&Flag::QualityMode];
        assert_eq!((stored.revision, stored.revisions[&Flag::QualityMode]), (2, 2));
        assert_eq!((flag.enabled, flag.rollout), (Some(false), on(12.5).rollout));
        assert!(flag.updated_at.is_some());

        let history = storage.flag_history(Flag::QualityMode, 10).await.expect("readable");
        assert_eq!((history[0].actor.as_str(), history[0].from, history[1].from), ("grace", Some(on(12.5)), None));
        storage.reset_flag(Flag::QualityMode, Some(2), "ada").await.expect("written");
        assert!(storage.flags().await.expect("readable").overrides.is_empty());
    }

    async fn changes_of_different_flags_do_not_contradict_each_other(database: Database) {
        let storage = database.open().await;
        storage.change_flag(Flag::QualityMode, on(10.0), Some(0), "ada").await.expect("written");
        storage.change_flag(Flag::Caching, on(20.0), Some(0), "grace").await.expect("nobody changed that one");
        let stale = storage.change_flag(Flag::QualityMode, on(30.0), Some(0), "grace").await;
        assert!(matches!(stale, Err(ChangeError::Stale { current: 1 })), "{stale:?}");
    }

    async fn every_process_learns_of_a_change(database: Database) {
        let [writer, near, far] = [database.open().await, database.open().await, database.open().await];
        for storage in [&writer, &near, &far] {
            storage.start();
        }
        let mut watched = [writer.watch_revisions(), near.watch_revisions(), far.watch_revisions()];
        for revision in 1..=3 {
            writer.change_flag(Flag::Caching, on(revision as f64), None, "ada").await.expect("written");
            for revisions in &mut watched {
                until(revisions, |found| found.as_ref().is_some_and(|found| found.of(Topic::Flags) == revision)).await;
            }
        }
    }
}
