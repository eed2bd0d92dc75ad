use std::time::{Duration, UNIX_EPOCH};

use uuid::Uuid;

use super::{Database, on_both_databases};
use crate::storage::{NewApiKey, Promotion, Topic};

on_both_databases! {
    async fn a_key_is_valid_until_it_is_revoked(database: Database) {
        let storage = database.open().await;
        let scopes = ["classify".to_owned(), "flags:read".to_owned()];
        let id = Uuid::now_v7();
        let key = NewApiKey { id, name: "desk", hash: "h1", scopes: &scopes, created_by: "ada" };
        storage.create_api_key(key.clone()).await.expect("stored");
        let same_hash = storage.create_api_key(NewApiKey { id: Uuid::now_v7(), ..key }).await;
        assert!(same_hash.is_err_and(|error| error.fault().is_none()), "a hash is there once");

        let [found] = &storage.api_keys().await.expect("readable")[..] else { panic!("there is one key") };
        assert_eq!((found.id, found.name.as_str(), found.hash.as_str()), (id, "desk", "h1"));
        assert_eq!((&found.scopes[..], found.created_by.as_str(), found.revoked_at), (&scopes[..], "ada", None));

        assert!(storage.revoke_api_key(id).await.expect("writable"));
        assert!(!storage.revoke_api_key(id).await.expect("writable"), "it was revoked before");
        assert!(!storage.revoke_api_key(Uuid::now_v7()).await.expect("writable"), "there is no such key");
        assert!(storage.api_keys().await.expect("readable")[0].revoked_at.is_some());
        assert!(storage.revisions().await.expect("readable").of(Topic::ApiKeys) >= 2, "others learn of it");
    }

    async fn promotions_are_remembered_in_order_and_a_restart_is_none(database: Database) {
        let storage = database.open().await;
        let promotion = |second: u64, version: &str| Promotion {
            version: version.to_owned(),
            at: UNIX_EPOCH + Duration::from_secs(1_000_000_000 + second),
            actor: "ada".to_owned(),
        };
        let served = [promotion(1, "v1"), promotion(2, "v2"), promotion(3, "v1")];
        for promotion in [&served[0], &served[1], &served[1], &served[2], &promotion(4, "v1")] {
            storage.store_promotion(promotion).await.expect("stored");
        }
        assert_eq!(storage.promotions(2).await.expect("readable"), [served[2].clone(), served[1].clone()]);
        assert_eq!(storage.promotions(9).await.expect("readable").len(), 3);
    }
}
